"""Advice as data: answers and errors carry calls that make sense now.

    NextStep("get_run", {"dataset": "faq", "run_name": "v2", "wait_seconds": 45}, "Wait for the run to end.")

The tools' text shows a step as a call, the shell as a command.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, JsonValue, WithJsonSchema

ToolName = Literal[
    "run_experiment",
    "score_run",
    "judge_pairs",
    "confirm_run",
    "list_runs",
    "get_run",
    "compare_runs",
    "analyze_run",
    "fetch_annotation_comments",
    "request_labels",
    "check_judge",
    "cancel_run",
    "create_dataset",
    "create_judge",
    "create_prompt",
    "list_datasets",
    "get_dataset",
    "list_judges",
]


@dataclass(frozen=True, slots=True)
class NextStep:
    """A call that makes sense now."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tool: Annotated[ToolName, WithJsonSchema({"type": "string"})]
    arguments: dict[str, JsonValue]
    """Those that are known; `why` names one that the caller has to fill in."""
    why: str
