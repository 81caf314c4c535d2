"""The task of a task script, and what scripts are given: a dataset item, and the result of one."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import Evaluation
from lfexp_mcp.scripts.modules import load_module
from lfexp_mcp.scripts.signatures import is_async, signature_of


@dataclass(frozen=True, slots=True, eq=False)
class ScriptItem(Mapping[str, JsonValue]):
    """A dataset item with the attributes of the SDK's, as `item.input` or `item["input"]`."""

    id: str
    input: JsonValue
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    dataset_id: str = ""
    dataset_name: str = ""
    source_trace_id: str | None = None

    def __getitem__(self, key: str) -> JsonValue:
        if key not in _FIELDS:
            raise KeyError(key)
        value: JsonValue = getattr(self, key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


_FIELDS = tuple(spec.name for spec in fields(ScriptItem))


@dataclass(frozen=True, slots=True)
class ScriptItemResult:
    """The result of one item with the attributes of the SDK's `ExperimentItemResult`, for run evaluators."""

    item: ScriptItem
    output: object
    evaluations: list[Evaluation]
    trace_id: str | None


_SHAPE = "Define it as\n\ndef task(*, item, **kwargs):\n    return ...  # the output for item.input"


class Task:
    """What a run does with each dataset item.

    Attributes:
        is_async: Whether `call` returns a coroutine.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self._signature = signature_of(function)
        self.is_async = is_async(function)

    def call(self, item: ScriptItem, params: Mapping[str, JsonValue] | None = None) -> object:
        """Call the task.

        Args:
            params: The run's parameters. Without any, a task that needs them gets an empty object, and no other does.

        Returns:
            The output, or an awaitable of it, which a plain function may return too.
        """
        if params or "params" in self._signature.required:
            return self._function(item=item, params=dict(params or {}))
        return self._function(item=item)

    def confused(self, params: Collection[str]) -> list[str]:
        """Return the parameters that are named like other arguments of the task, which do not get them."""
        return sorted(self._signature.named.intersection(params) - {"item", "params"})


def load_task(path: Path, *, with_params: bool = False) -> Task:
    """Import a task script and find its function `task`.

    Args:
        with_params: Whether the run has parameters, which the task has to take.

    Raises:
        ScriptError: The script cannot be imported, or has no `task` that can be called with an item.
    """
    function = getattr(load_module(path, "task"), "task", None)
    if function is None:
        raise ScriptError(f"The task script {path} defines no function named `task`. {_SHAPE}")
    if not callable(function):
        raise ScriptError(f"`task` in {path} is a {type(function).__name__}, which cannot be called. {_SHAPE}")
    signature = signature_of(function)
    missing = signature.not_in(["item", "params"])
    if missing or not (signature.takes_any or "item" in signature.named):
        wants = f"needs {', '.join(missing)}" if missing else "takes no argument named `item`"
        raise ScriptError(f"`task` in {path} is called with `item=...` and `params=...` only, but it {wants}. {_SHAPE}")
    if with_params and not (signature.takes_any or "params" in signature.named):
        raise ScriptError(
            f"The run has params, but `task` in {path} does not take them: they would change nothing. Define it as\n\n"
            "def task(*, item, params, **kwargs):\n    return ..."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ScriptError(f"`task` in {path} is a generator, but has to return its whole output. {_SHAPE}")
    return Task(function)
