"""The only module that reads the environment, for the settings and for child processes. Imports nothing heavy."""

import os
from collections.abc import Mapping


def process_environment(changes: dict[str, str]) -> dict[str, str]:
    """Return the environment for a child process: this process's, with changes.

    Args:
        changes: Variables to set. Workers get Langfuse's keys this way, rather than on disk or as arguments.
    """
    return {**os.environ, **changes}


def asked_to_complete() -> bool:
    """Whether a shell asks how its user's command line goes on: it starts the command without arguments."""
    return "_LFEXP_MCP_COMPLETE" in os.environ


def set_variables(changes: Mapping[str, str | None]) -> None:
    """Set variables of this process, which its code and its child processes read; None unsets one."""
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
