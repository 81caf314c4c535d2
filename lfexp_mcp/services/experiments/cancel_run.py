"""Stopping runs at work."""

import anyio.to_thread

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.errors import NotFoundError
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.process import kill_worker
from lfexp_mcp.services.runs.follower import follow
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.runs.run_answer import describe_launch, describe_run
from lfexp_mcp.services.workspace import Workspace

ENDED_BEFORE = "The run had ended before this call; nothing was cancelled."
CANCEL_PATIENCE = 15.0
"""Seconds that a cancel waits for the run to end, its grace period not counted; its process is killed then."""


async def cancel_run(ws: Workspace, dataset: str, run_name: str) -> RunAnswer:
    """Stop a run that is running on this machine: no new items, a grace period for those running, results are kept.

    One that is being prepared is stopped before it begins. A run that has ended already is left as it is.

    Raises:
        NotFoundError: There is no such dataset, or no such run on this machine.
    """
    start = ws.launches.find(dataset, run_name)
    if start is not None and start.is_pending:
        await start.cancel()
        if start.folder is None:
            return describe_launch(ws, start, cancelled=True)
    folder = await find_run_folder(ws, dataset, run_name)
    if folder is None:
        raise NotFoundError(
            f"Run {run_name!r} of dataset {dataset!r} is not at work on this machine. "
            "list_runs names the runs; one at work elsewhere is cancelled there."
        )
    if folder.is_at_work():
        folder.request_cancel()
        grace = folder.run_spec().limits.cancel_grace
        follower = await follow(ws, folder)
        if not await follower.wait(grace + CANCEL_PATIENCE):
            await _kill(folder)
        return await _describe(ws, folder)
    answer = await _describe(ws, folder)
    return answer.model_copy(update={"warnings": [ENDED_BEFORE, *answer.warnings]})


async def _describe(ws: Workspace, folder: RunFolder) -> RunAnswer:
    follower = await follow(ws, folder)
    return await describe_run(ws, follower.record(), follower)


async def kill_run(ws: Workspace, dataset: str, run_name: str) -> None:
    """End the process of a run at once, with the processes that it started; what is journaled is kept.

    Raises:
        NotFoundError: There is no such dataset.
    """
    folder = await find_run_folder(ws, dataset, run_name)
    if folder is not None:
        await _kill(folder)


async def _kill(folder: RunFolder) -> None:
    if folder.is_at_work() and await anyio.to_thread.run_sync(kill_worker, folder):
        await anyio.to_thread.run_sync(folder.note_killed)
