"""The user's task and evaluator scripts: import them, call them, read what they return.

Only the worker process, which runs the user's code, imports this package.
"""

from lfexp_mcp.scripts.evaluations import read_evaluations
from lfexp_mcp.scripts.evaluators import EvaluatorSet, RunEvaluator, ScriptEvaluator, load_evaluators
from lfexp_mcp.scripts.task import ScriptItem, ScriptItemResult, Task, load_task

__all__ = [
    "EvaluatorSet",
    "RunEvaluator",
    "ScriptEvaluator",
    "ScriptItem",
    "ScriptItemResult",
    "Task",
    "load_evaluators",
    "load_task",
    "read_evaluations",
]
