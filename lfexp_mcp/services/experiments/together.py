"""Runs that begin together or not at all, and that a call waits for together."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import anyio

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Progress
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.experiments.run_experiment import START_GRACE_S
from lfexp_mcp.services.launches import Launch, StartGate
from lfexp_mcp.services.runs.follower import Follower, OnProgress
from lfexp_mcp.services.runs.run_answer import launch_progress
from lfexp_mcp.services.workspace import Workspace

REPORT_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """One of the runs to begin."""

    run_name: str
    request: object
    """What was asked for; an equal call that comes later joins the launch."""
    work: Callable[[Launch, StartGate], Awaitable[None]]
    """Launches it."""


async def begin_together(ws: Workspace, dataset: Dataset, starts: Sequence[Start]) -> list[Launch]:
    """Begin runs that share `max_concurrency` evenly.

    Raises:
        RunExistsError: Another call is launching one of them, and no worker has it yet.
    """
    ids = [await ws.gateway.experiments.id_of(dataset.id, start.run_name) for start in starts]
    gate = StartGate([ws.runs.folder(each).path for each in ids])
    launches: list[Launch] = []
    try:
        for start in starts:
            work = partial(_work, start, gate)
            launches.append(ws.launches.begin(dataset.name, start.run_name, start.request, work))
    except LfexpError:
        for launch in launches:
            await launch.cancel()
        raise
    return launches


async def _work(start: Start, gate: StartGate, launch: Launch) -> None:
    async with gate.passing(f"Run {start.run_name!r}"):
        await start.work(launch, gate)


async def wait_for_all(
    ws: Workspace, running: Sequence[Launch | RunFolder], deadline: float, on_progress: OnProgress | None
) -> None:
    """Wait until all runs have ended, or the time is over.

    Args:
        running: What was launched, and what ran already.
        deadline: On anyio's clock; runs whose scripts are being loaded are waited for a little longer.
        on_progress: Called with the progress of all together.

    Raises:
        LfexpError: One could not be launched.
    """
    errors: list[LfexpError] = []

    async def stay(one: Launch | RunFolder) -> None:
        folder = one
        if isinstance(one, Launch):
            try:
                await one.wait(deadline + START_GRACE_S - anyio.current_time())
            except LfexpError as error:
                errors.append(error)
                return
            folder = one.folder or one
        if isinstance(folder, RunFolder):
            await Follower(ws.replays.of(folder)).wait(deadline - anyio.current_time())

    async with open_group() as reporting:
        if on_progress is not None:
            reporting.start_soon(_report, ws, running, on_progress)
        async with open_group() as group:
            for one in running:
                group.start_soon(stay, one)
        reporting.cancel_scope.cancel()
    if errors:
        raise errors[0]


async def _report(ws: Workspace, running: Sequence[Launch | RunFolder], on_progress: OnProgress) -> None:
    while True:
        await anyio.sleep(REPORT_INTERVAL_S)
        await on_progress(progress_of_all(ws, running))


def progress_of_all(ws: Workspace, running: Sequence[Launch | RunFolder]) -> Progress:
    """Return how far several runs have come together."""
    parts = []
    for one in running:
        folder = one.folder if isinstance(one, Launch) else one
        if folder is not None:
            parts.append(Follower(ws.replays.of(folder)).progress())
        elif isinstance(one, Launch):
            parts.append(launch_progress(one))
    done, total, failed, count = (
        sum(getattr(part, name) for part in parts) for name in ("done", "total", "failed", "running")
    )
    return Progress(done=done, total=total, failed=failed, running=count)
