"""Work that helps later calls: delivering what earlier runs left, keeping spare workers, pruning old runs."""

from contextlib import suppress

import anyio
import anyio.to_thread

from lfexp_mcp.errors import BackendError, StateError, UsageError, WorkerError
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.protocol import WorkerCommand
from lfexp_mcp.services.experiments.workers import keep_spares, start_worker
from lfexp_mcp.services.workspace import Workspace

WARM_UP_DELAY_S = 2.0
"""During this time the call that opened the workspace has the machine to itself."""


async def warm_up(ws: Workspace, spare: bool = True) -> None:
    """Deliver what earlier runs left and keep spare workers; failures are left to the calls that need them.

    Args:
        spare: Whether to keep some; not where a process has many workspaces.
    """
    await anyio.sleep(WARM_UP_DELAY_S)
    await try_deliver_pending(ws)
    if spare:
        with suppress(UsageError, WorkerError):
            await keep_spares(ws)


async def tidy_up(ws: Workspace) -> None:
    """Prune old runs; failures are left to the calls that need them."""
    with suppress(StateError):
        await anyio.to_thread.run_sync(ws.runs.prune, ws.settings.keep_runs)


async def try_deliver_pending(ws: Workspace) -> None:
    """As `deliver_pending`; failures are left to the calls that need it."""
    with suppress(BackendError, StateError, WorkerError):
        await deliver_pending(ws)


async def deliver_pending(ws: Workspace) -> int:
    """Send what earlier runs of this project have left on this machine, in a process of its own.

    Cheap when there is nothing to send. A run that lacked only Langfuse's acknowledgement is complete afterwards.

    Returns:
        How many runs have something to send.

    Raises:
        BackendError: Langfuse did not answer.
        StateError: The runs' folder cannot be read.
        WorkerError: The process cannot be started.
    """
    pending = [(folder, run_spec) for folder, run_spec in ws.runs.started() if _is_pending(folder)]
    if not pending:
        return 0
    project = await ws.gateway.project_id()
    paths = tuple(folder.path for folder, run_spec in pending if run_spec.project_id == project)
    if paths:
        worker = await start_worker(ws, None)
        await worker.give(WorkerCommand(deliver=paths))
    return len(paths)


def _is_pending(folder: RunFolder) -> bool:
    try:
        return folder.has_undelivered() and not folder.worker.is_locked()
    except StateError:
        # Reported to whoever asks for that run; the others are not held up by it.
        return False
