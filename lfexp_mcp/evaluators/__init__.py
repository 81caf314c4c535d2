"""Built-in evaluators: by name in a run's `evaluators`, and in the `EVALUATORS` of a script.

Each is a class whose fields are its options. An instance is called as any evaluator of a script; a class that needs no
option may stand in a list itself.

Example:
    ```python
    from lfexp_mcp.evaluators import exact_match, numeric

    EVALUATORS = [exact_match, numeric(tolerance=0.01)]
    ```
"""

from lfexp_mcp.evaluators.base import BuiltIn, UnscoredError
from lfexp_mcp.evaluators.json_values import JsonFields as json_fields
from lfexp_mcp.evaluators.json_values import JsonSchema as json_schema
from lfexp_mcp.evaluators.metrics import Cost as cost
from lfexp_mcp.evaluators.metrics import Latency as latency
from lfexp_mcp.evaluators.numbers import Numeric as numeric
from lfexp_mcp.evaluators.registry import BUILT_INS, build_evaluator, parse_evaluators
from lfexp_mcp.evaluators.texts import Contains as contains
from lfexp_mcp.evaluators.texts import EditSimilarity as edit_similarity
from lfexp_mcp.evaluators.texts import ExactMatch as exact_match
from lfexp_mcp.evaluators.texts import Regex as regex
from lfexp_mcp.evaluators.tool_calls import ToolCalls as tool_calls

__all__ = [
    "BUILT_INS",
    "BuiltIn",
    "UnscoredError",
    "build_evaluator",
    "contains",
    "cost",
    "edit_similarity",
    "exact_match",
    "json_fields",
    "json_schema",
    "latency",
    "numeric",
    "parse_evaluators",
    "regex",
    "tool_calls",
]
