"""Next steps of answers and errors as shell commands."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.cli.flags import LIST_FLAGS
from lfexp_mcp.model import NextStep
from lfexp_mcp.reports.untrusted import is_safe, one_line

NAME = "lfexp-mcp"

COMMANDS = {
    "run_experiment": ("run",),
    "score_run": ("score-run",),
    "judge_pairs": ("judge-pairs",),
    "confirm_run": ("confirm",),
    "list_runs": ("list-runs",),
    "get_run": ("get-run",),
    "compare_runs": ("compare",),
    "analyze_run": ("analyze",),
    "fetch_annotation_comments": ("comments",),
    "request_labels": ("request-labels",),
    "check_judge": ("check-judge",),
    "cancel_run": ("cancel",),
    "create_dataset": ("dataset", "create"),
    "create_judge": ("judge", "create"),
    "create_prompt": ("prompt", "create"),
    "list_datasets": ("dataset", "list"),
    "get_dataset": ("dataset", "show"),
    "list_judges": ("judge", "list"),
}
"""The command that does what a tool does."""


def command_line(step: NextStep) -> str:
    """Write a step as the command that does the same."""
    words = [*COMMANDS[step.tool]]
    for name, value in step.arguments.items():
        words += _flag(f"--{name.replace('_', '-')}", value)
    return shell_line(*words)


def next_lines(steps: Iterable[NextStep]) -> list[str]:
    """Write each step as a command, with what it is for."""
    return [f"Next: {command_line(step)} # {one_line(step.why)}" for step in steps]


def shell_line(*arguments: str) -> str:
    """Write a command line that works where this command was run, and is safe to display as it is."""
    words = [*_program(), *arguments]
    return one_line(subprocess.list2cmdline(words)) if sys.platform == "win32" else " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Quote a word for a shell; characters unsafe for a terminal are escaped in `$'...'`, as bash and zsh read it."""
    if is_safe(word):
        return shlex.quote(word)
    return f"$'{''.join(_ansi_c(character) for character in word)}'"


def _ansi_c(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character != "#" and is_safe(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"


def _program() -> list[str]:
    typed = Path(sys.argv[0])
    if typed.stem == "__main__":
        return [sys.executable, "-m", "lfexp_mcp"]
    found = shutil.which(NAME)
    if typed.stem != NAME or (found is not None and Path(found).resolve() == typed.resolve()):
        return [NAME]
    return [sys.argv[0]]


def _flag(flag: str, value: JsonValue) -> list[str]:
    if value is True:
        return [flag]
    if value is False or value is None:
        return []
    if isinstance(value, list) and flag in LIST_FLAGS:
        words = [_word(each) for each in value]
        # One that begins with a dash would be taken for a flag; see `repeat_list_flags`.
        return [f"{flag}={word}" for word in words] if any(word[:1] == "-" for word in words) else [flag, *words]
    return [flag, _word(value)]


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
