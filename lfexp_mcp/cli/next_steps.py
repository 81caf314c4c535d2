"""The calls that an answer proposes, as commands of the shell."""

import json
import shlex
import subprocess
import sys

from pydantic import JsonValue

from lfexp_mcp.answers.base import NextStep

COMMANDS = {
    "run_experiment": ("run",),
    "list_runs": ("list-runs",),
    "get_run": ("get-run",),
    "compare_runs": ("compare",),
    "analyze_run": ("analyze",),
    "fetch_annotation_comments": ("comments",),
    "cancel_run": ("cancel",),
    "create_dataset": ("dataset", "create"),
    "create_judge": ("judge", "create"),
}
"""The command that does what a tool does."""


def command_line(step: NextStep) -> str:
    """Write a call of a tool as the command that does the same."""
    words = ["lfexp-mcp", *COMMANDS[step.tool]]
    for name, value in step.arguments.items():
        words += _flag(f"--{name.replace('_', '-')}", value)
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _flag(flag: str, value: JsonValue) -> list[str]:
    if value is True:
        return [flag]
    if value is False or value is None:
        return []
    if isinstance(value, list):
        return [flag, *(_word(each) for each in value)]
    return [flag, _word(value)]


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
