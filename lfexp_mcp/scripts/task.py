"""The task of a task script."""

import inspect
from collections.abc import Callable
from pathlib import Path

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.scripts.modules import load_module
from lfexp_mcp.scripts.script_item import ScriptItem
from lfexp_mcp.scripts.signatures import is_async, signature_of

_SHAPE = "Define it as\n\ndef task(*, item, **kwargs):\n    return ...  # the output for item.input"


class Task:
    """What a run does with each dataset item.

    Attributes:
        is_async: Whether `call` returns a coroutine.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self.is_async = is_async(function)

    def call(self, item: ScriptItem) -> object:
        """Call the task.

        Returns:
            The output, or an awaitable of it, which a plain function may return too.
        """
        return self._function(item=item)


def load_task(path: Path) -> Task:
    """Import a task script and find its function `task`.

    Raises:
        ScriptError: The script cannot be imported, or has no `task` that can be called with an item.
    """
    function = getattr(load_module(path, "task"), "task", None)
    if function is None:
        raise ScriptError(f"The task script {path} defines no function named `task`. {_SHAPE}")
    if not callable(function):
        raise ScriptError(f"`task` in {path} is a {type(function).__name__}, which cannot be called. {_SHAPE}")
    signature = signature_of(function)
    missing = signature.not_in(["item"])
    if missing or not (signature.takes_any or "item" in signature.named):
        wants = f"needs {', '.join(missing)}" if missing else "takes no argument named `item`"
        raise ScriptError(f"`task` in {path} is called with `item=...` only, but it {wants}. {_SHAPE}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ScriptError(f"`task` in {path} is a generator, but has to return its whole output. {_SHAPE}")
    return Task(function)
