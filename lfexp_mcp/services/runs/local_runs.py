"""Runs of this machine: their folders and journals."""

import math
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from lfexp_mcp.errors import UnreachableError, UnreadError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Holdout, RunRecord
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.replay import Replay
from lfexp_mcp.services.next_steps import run_step
from lfexp_mcp.services.runs.held_out import LOOKUP_PATIENCE_S, holdout_of_run, without_held_out
from lfexp_mcp.services.workspace import Workspace

SLICE_S = 0.2
"""How long a journal is read between two looks at the time."""

T = TypeVar("T")


async def find_run_folder(ws: Workspace, dataset: str, run_name: str) -> RunFolder | None:
    """Return the folder of a run that was started on this machine, None for others; see `locate_run`."""
    return (await locate_run(ws, dataset, run_name))[1]


async def locate_run(ws: Workspace, dataset: str, run_name: str) -> tuple[Dataset | None, RunFolder | None]:
    """Return the dataset of a run as it is now, and the run's folder, None if it was not started on this machine.

    If Langfuse does not answer, the run is found by its names, among those that were started with the same keys on the
    same server; there is no dataset then.

    Raises:
        NotFoundError: There is no such dataset.
        BackendError: Langfuse did not answer, and no run of these names was started here.
    """
    try:
        with anyio.move_on_after(LOOKUP_PATIENCE_S):
            return await _find_by_id(ws, dataset, run_name)
    except UnreachableError:
        folder = _find_by_names(ws, dataset, run_name)
        if folder is None:
            raise
        return None, folder
    # Langfuse is slow: only a run of other machines has to wait for it.
    folder = _find_by_names(ws, dataset, run_name)
    return (None, folder) if folder is not None else await _find_by_id(ws, dataset, run_name)


async def _find_by_id(ws: Workspace, dataset: str, run_name: str) -> tuple[Dataset, RunFolder | None]:
    found = await ws.gateway.datasets.get(dataset)
    return found, ws.runs.find(await ws.gateway.experiments.id_of(found.id, run_name))


def _find_by_names(ws: Workspace, dataset: str, run_name: str) -> RunFolder | None:
    for folder, run_spec in ws.runs.started():
        here = (run_spec.base_url, run_spec.public_key) == (ws.gateway.backend.url, ws.gateway.public_key)
        if here and (run_spec.dataset_name, run_spec.run_name) == (dataset, run_name):
            return folder
    return None


async def read_journal(
    ws: Workspace,
    folder: RunFolder,
    until: float = math.inf,
    *,
    dataset: Dataset | None = None,
    held_out: bool = False,
) -> RunRecord:
    """Return a run of this machine from its journal, without the items that its dataset's holdout holds now.

    Args:
        folder: The run's.
        until: When to give up, on anyio's clock.
        dataset: The run's, as it was just read; None reads it.
        held_out: Whether to leave nothing out: only for a confirmation, which has held-out items alone.

    Raises:
        StateError: The folder cannot be read.
        UnreadError: It was not read in time; what was read is kept, and the next call reads on.
        UsageError: It cannot be told which items are held out.
    """
    holdout: Holdout | None = None

    async def look_up() -> None:
        nonlocal holdout
        holdout = await holdout_of_run(ws, folder.run_spec(), until, dataset=dataset)

    async with open_group() as group:
        if not held_out:
            group.start_soon(look_up)
        record = await _read(ws, folder, until)
    return without_held_out(ws, record, holdout)


async def _read(ws: Workspace, folder: RunFolder, until: float) -> RunRecord:
    replay = ws.replays.of(folder)
    if not await catch_up(replay, until):
        raise _unread(folder, f"{replay.share_read:.0%} of its journal is read")
    record = await in_thread(replay.record, until)
    if record is None:
        raise _unread(folder, "its journal is read, but not yet put together")
    return record


async def catch_up(replay: Replay, until: float = math.inf) -> bool:
    """Read a journal to its end, in slices that leave the event loop free.

    Args:
        replay: Of the run.
        until: When to stop, on anyio's clock; a little is read in any case.

    Returns:
        Whether the end is reached.
    """
    while True:
        left = min(max(until - anyio.current_time(), 0.0), SLICE_S)
        if await anyio.to_thread.run_sync(replay.refresh, left):
            return True
        if left == 0:
            return False


async def in_thread(compute: Callable[[], T], until: float) -> T | None:
    """Compute something in a thread; None if the time is over first, while the thread goes on to its end.

    Args:
        compute: It keeps its result, so that the next call finds it.
        until: When to give up, on anyio's clock.
    """
    with anyio.move_on_after(until - anyio.current_time()):
        return await anyio.to_thread.run_sync(compute, abandon_on_cancel=True)
    return None


def _unread(folder: RunFolder, state: str) -> UnreadError:
    run_spec, why = folder.run_spec(), "Read on, with more time."
    return UnreadError(
        f"Run {run_spec.run_name!r} has {run_spec.total_items} results, and the time of this call was too short to "
        f"read them: {state}. What is read is kept, and the next call goes on from there.",
        next=[run_step("get_run", run_spec.dataset_name, run_spec.run_name, why, wait_seconds=45)],
    )
