"""How the task of a run is called, be it a script or a prompt."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.scripts import ScriptItem, Task
from lfexp_mcp.scripts.json_conversion import JsonConverter
from lfexp_mcp.worker.user_code import CallResult, UserCode


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What a task returned."""

    value: object
    """As the task returned it."""
    stored: JsonValue
    """As JSON holds it."""
    changed: frozenset[str]
    """What of it JSON cannot hold, and was replaced."""


CallTask = Callable[[DatasetItem], Awaitable[CallResult[TaskOutput]]]
"""Calls the task once on an item, within its time-out; raises nothing of what the task raises."""


def script_caller(task: Task, user: UserCode, run_spec: RunSpec) -> CallTask:
    """Call the task of the user's script."""

    async def call(item: DatasetItem) -> CallResult[TaskOutput]:
        given = script_item(item, run_spec)
        return await user.call(
            lambda: task.call(given), read_output, is_async=task.is_async, timeout=run_spec.limits.item_timeout
        )

    return call


def read_output(value: object) -> TaskOutput:
    """Read what a task returned; see `JsonConverter.convert`."""
    converter = JsonConverter()
    return TaskOutput(value, converter.convert(value), frozenset(converter.replaced))


def script_item(item: DatasetItem, run_spec: RunSpec) -> ScriptItem:
    """Return the item as scripts are given it: a copy for each call, since scripts may change what they get."""
    return ScriptItem(
        id=item.id,
        input=_copy(item.input),
        expected_output=_copy(item.expected_output),
        metadata={key: _copy(value) for key, value in item.metadata.items()},
        dataset_id=run_spec.dataset_id,
        dataset_name=run_spec.dataset_name,
    )


def _copy(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_copy(member) for member in value]
    return value
