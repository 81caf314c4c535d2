"""The user's task and evaluator scripts: loading them, calling them, reading what they return.

Imported only in the worker process, which runs the user's code.
"""

from lfexp_mcp.scripts.evaluators import EvaluatorSet, RunEvaluator, ScriptEvaluator, load_evaluators
from lfexp_mcp.scripts.items import ScriptItem, ScriptItemResult
from lfexp_mcp.scripts.results import normalise_result
from lfexp_mcp.scripts.task import Task, load_task

__all__ = [
    "EvaluatorSet",
    "RunEvaluator",
    "ScriptEvaluator",
    "ScriptItem",
    "ScriptItemResult",
    "Task",
    "load_evaluators",
    "load_task",
    "normalise_result",
]
