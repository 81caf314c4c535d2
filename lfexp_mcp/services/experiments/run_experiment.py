"""Starting a run, and staying with it for a while."""

from contextlib import suppress
from functools import partial
from uuid import uuid4

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import RunAnswer, RunEstimate
from lfexp_mcp.errors import LfexpError, RunExistsError, StateError, UsageError, WorkerError
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import NextStep
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.process import WorkerProcess, kill_worker
from lfexp_mcp.runs.protocol import WorkerCommand
from lfexp_mcp.services.experiments.estimate import estimate_whole
from lfexp_mcp.services.experiments.preparation import PreparedRun, prepare_run
from lfexp_mcp.services.experiments.request import RunRequest
from lfexp_mcp.services.experiments.workers import keep_spare, start_worker
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.runs.follower import OnProgress, follow
from lfexp_mcp.services.runs.run_answer import describe_launch, describe_run, launch_progress
from lfexp_mcp.services.workspace import Workspace

START_GRACE_S = 5.0
"""How long a call waits, beyond its time, for the run to begin: what is wrong with the scripts is best told by it."""
REPORT_S = 2.0


async def run_experiment(
    ws: Workspace, request: RunRequest, *, wait_seconds: float = 45, on_progress: OnProgress | None = None
) -> RunAnswer:
    """Run a task on every item of a dataset, score what comes out, and store it in Langfuse.

    The run goes on, also while it is only being prepared, when the wait is over or the caller goes away; a dry one ends
    with the call, and leaves nothing.

    Args:
        ws: The workspace.
        request: What to run.
        wait_seconds: How long to wait for the end; a few seconds longer where the scripts take so long to load, since
            what is wrong with them is this call's answer.
        on_progress: Told how far the run has come, at most once a second and at least every ten.

    Returns:
        The run as it stands when it ends or the wait is over.

    Raises:
        UsageError: A dry run did not end in time.
        NotFoundError: There is no such dataset, or nothing to resume.
        RunExistsError: The name has items already, or a process at work.
        ScriptError: A script cannot be used.
        JudgeError: A judge cannot be used.
        WorkerError: The worker could not start.
        StateError: The runs' folder cannot be used.
        BackendError: Langfuse did not answer.
    """
    deadline = anyio.current_time() + wait_seconds
    if request.dry_run:
        return await _dry_run(ws, request, deadline)
    start = ws.launches.begin(request.dataset_name, request.run_name, request, partial(_start, ws, request))
    folder = await _wait_for_start(start, deadline, on_progress)
    if folder is None:
        return describe_launch(ws, start)
    follower = await follow(ws, folder, on_progress)
    await follower.wait(deadline - anyio.current_time() - follower.telling_s)
    answer = await describe_run(ws, follower.record(), follower)
    await _tidy_up(ws)
    return answer


async def _wait_for_start(start: Launch, deadline: float, on_progress: OnProgress | None) -> RunFolder | None:
    """Wait until a run has begun.

    Returns:
        Its folder, also where its scripts are still being loaded when the time is over; None where no worker has it.

    Raises:
        LfexpError: It could not be started.
    """
    async with open_group() as group:
        if on_progress is not None:
            group.start_soon(_report_start, start, on_progress)
        if await start.wait(deadline + START_GRACE_S - anyio.current_time(), until_taken=True):
            await start.wait(deadline + START_GRACE_S - anyio.current_time())
        group.cancel_scope.cancel()
    return start.folder


async def _report_start(start: Launch, on_progress: OnProgress) -> None:
    """Report that a run is being started, until cancelled, so that a client sees the call alive."""
    while True:
        await anyio.sleep(REPORT_S)
        await on_progress(launch_progress(start))


async def _dry_run(ws: Workspace, request: RunRequest, deadline: float) -> RunAnswer:
    """Carry a dry run out, and leave nothing of it, whatever happens."""
    name = f"{request.run_name} (dry run {uuid4()})"
    start = ws.launches.begin(request.dataset_name, name, request, partial(_start, ws, request))
    try:
        folder = await _wait_for_start(start, deadline, None)
        follower = await follow(ws, folder) if folder else None
        if follower is None or not await follower.wait(max(deadline - anyio.current_time(), 0)):
            raise UsageError("The dry run did not end in time. Pass a longer wait_seconds, or an item_timeout.")
        answer = await describe_run(ws, follower.record(), follower)
        estimate = await estimate_whole(ws, follower.record(), follower.run_spec.dry_run_of or 0)
        return _of_dry_run(answer, request, estimate)
    finally:
        with anyio.CancelScope(shield=True):
            await start.cancel()
            if start.folder is not None:
                await anyio.to_thread.run_sync(kill_worker, start.folder)
                await anyio.to_thread.run_sync(start.folder.delete)


async def _start(ws: Workspace, request: RunRequest, start: Launch) -> None:
    """Prepare the order while a worker starts, and hand it over."""
    # A resumed run is started by the interpreter that it was begun with, which its order tells.
    worker = None if request.resume else await start_worker(ws, request.python)
    try:
        order = await prepare_run(ws, request)
        start.run_spec = order.run_spec
        worker = worker or await start_worker(ws, order.run_spec.python)
        await _hand_over(order, worker, start)
    finally:
        if worker is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(worker.dismiss)


async def _hand_over(order: PreparedRun, worker: WorkerProcess, start: Launch) -> None:
    """Give a worker the order, and see it load the scripts."""
    folder = order.folder
    with folder.starting():
        order.write()
        try:
            # Once the worker may have read the order, only its folder tells whether the run has begun.
            with anyio.CancelScope(shield=True):
                await worker.give(WorkerCommand(run=folder.path))
                start.folder = folder
            await worker.begin()
        except RunExistsError:
            # Another worker has the folder.
            raise
        except LfexpError:
            # What went wrong stays in the folder where nobody is left to be told, and where a worker that died while it
            # loaded the scripts has left a log.
            if order.is_new and start.is_awaited and not folder.read_state().loading:
                folder.delete()
            raise


def _of_dry_run(answer: RunAnswer, request: RunRequest, estimate: RunEstimate) -> RunAnswer:
    """The answer of a run of which nothing is left."""
    step = NextStep(
        tool="run_experiment",
        arguments=request.model_copy(update={"dry_run": False}).model_dump(mode="json", exclude_defaults=True),
        why="Run the whole dataset.",
    )
    left_out = {"experiment_url": None, "undelivered": 0, "log": None}
    return answer.model_copy(update={**left_out, "estimate": estimate, "next": [step]})


async def _tidy_up(ws: Workspace) -> None:
    """Do what helps later calls; what goes wrong with it is theirs to say."""
    with suppress(StateError, WorkerError):
        await anyio.to_thread.run_sync(ws.runs.prune, ws.settings.keep_runs)
        if ws.workers.wants_spare:
            await keep_spare(ws)
