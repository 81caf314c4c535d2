"""How the task of a run is called, be it a script or a prompt."""

from collections.abc import Awaitable, Callable

from lfexp_mcp.runs.manifest import Manifest, RunItem
from lfexp_mcp.scripts import ScriptItem, Task
from lfexp_mcp.worker.calls import Outcome, UserCode

CallTask = Callable[[RunItem], Awaitable[Outcome]]
"""Calls the task once on an item, within its time-out; raises nothing of what the task raises."""


def script_caller(task: Task, user: UserCode, manifest: Manifest) -> CallTask:
    """Call the task of the user's script."""

    async def call(item: RunItem) -> Outcome:
        given = script_item(item, manifest)
        return await user.call(lambda: task.call(given), is_async=task.is_async, timeout=manifest.limits.item_timeout)

    return call


def script_item(item: RunItem, manifest: Manifest) -> ScriptItem:
    """Return the item as scripts are given it."""
    return ScriptItem(
        id=item.id,
        input=item.input,
        expected_output=item.expected_output,
        metadata=item.metadata,
        dataset_id=manifest.dataset_id,
        dataset_name=manifest.dataset_name,
    )
