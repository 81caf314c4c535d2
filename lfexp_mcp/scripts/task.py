"""The task of a task script."""

import inspect
from collections.abc import Callable
from pathlib import Path

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.scripts.items import ScriptItem
from lfexp_mcp.scripts.modules import load_module
from lfexp_mcp.scripts.signatures import is_async, signature_of

_SHAPE = "Define it as\n\ndef task(*, item, **kwargs):\n    return ...  # the output for item.input"


class Task:
    """What a run does with each item.

    Attributes:
        is_async: Whether `call` gives a coroutine to await on the event loop; else it is to be called in a
            thread.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self.is_async = is_async(function)

    def call(self, item: ScriptItem) -> object:
        """Call the task.

        Args:
            item: The dataset item.

        Returns:
            The output; or an awaitable of it, which a plain function may return too.
        """
        return self._function(item=item)


def load_task(path: Path) -> Task:
    """Import a task script and find its task.

    Raises:
        ScriptError: The script does not load, defines no `task`, or one that cannot be called with an item.
    """
    module = load_module(path, "task")
    function = getattr(module, "task", None)
    if function is None:
        raise ScriptError(f"The task script {path} defines no function named `task`. {_SHAPE}")
    if not callable(function):
        raise ScriptError(f"`task` in {path} is a {type(function).__name__}, which cannot be called. {_SHAPE}")
    signature = signature_of(function)
    lacking = signature.lacking(["item"])
    if lacking or not (signature.takes_any or "item" in signature.named):
        wants = f"needs {', '.join(lacking)}" if lacking else "takes no argument named `item`"
        raise ScriptError(f"`task` in {path} is called with `item=...` alone, but it {wants}. {_SHAPE}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ScriptError(f"`task` in {path} is a generator: it has to return its output as a whole. {_SHAPE}")
    return Task(function)
