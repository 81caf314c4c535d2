"""What helps later calls: sending what earlier runs left, and a spare worker."""

from contextlib import suppress

import anyio

from lfexp_mcp.errors import BackendError, StateError, WorkerError
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.protocol import WorkerCommand
from lfexp_mcp.services.experiments.workers import keep_spare, start_worker
from lfexp_mcp.services.workspace import Workspace

READY_AFTER = 2.0
"""Seconds that the call which opened the workspace has the machine for itself."""


async def get_ready(ws: Workspace) -> None:
    """Do in the background what helps later calls of a server: send what earlier runs left, keep a spare worker.

    What goes wrong is left to the calls that need it, which say so.
    """
    await anyio.sleep(READY_AFTER)
    await send_leftovers(ws)
    with suppress(WorkerError):
        await keep_spare(ws)


async def send_leftovers(ws: Workspace) -> None:
    """Begin to send what earlier runs left; what goes wrong is left to the calls that need it, which say so."""
    with suppress(BackendError, StateError, WorkerError):
        await deliver_pending(ws)


async def deliver_pending(ws: Workspace) -> int:
    """Send what earlier runs of this project have left on this machine, in a process of its own.

    Cheap when there is nothing to send. A run that lacked only the acknowledgement is complete then.

    Returns:
        How many runs have something to send.

    Raises:
        BackendError: Langfuse did not answer.
        StateError: The runs' folder cannot be read.
        WorkerError: The process cannot be started.
    """
    waiting = [(folder, run_spec) for folder, run_spec in ws.runs.orders() if _waits(folder)]
    if not waiting:
        return 0
    project = await ws.gateway.project_id()
    theirs = tuple(folder.path for folder, run_spec in waiting if run_spec.project_id == project)
    if theirs:
        worker = await start_worker(ws, None)
        await worker.give(WorkerCommand(deliver=theirs))
    return len(theirs)


def _waits(folder: RunFolder) -> bool:
    try:
        return folder.has_undelivered() and not folder.is_held()
    except StateError:
        # Whoever asks for that run is told; the others are not held up by it.
        return False
