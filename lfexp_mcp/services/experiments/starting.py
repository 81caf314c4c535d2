"""Starting a run, and staying with it for a while."""

from contextlib import suppress

import anyio
import anyio.to_thread

from lfexp_mcp.answers.base import NextStep
from lfexp_mcp.answers.run import RunAnswer, RunEstimate
from lfexp_mcp.errors import LfexpError, RunExistsError, StateError, UsageError, WorkerError
from lfexp_mcp.groups import open_group
from lfexp_mcp.runs.process import WorkerProcess, kill_worker
from lfexp_mcp.runs.protocol import Order
from lfexp_mcp.services.experiments.estimate import estimate_whole
from lfexp_mcp.services.experiments.orders import PreparedOrder, prepare_order
from lfexp_mcp.services.experiments.request import RunRequest
from lfexp_mcp.services.experiments.workers import keep_spare, start_worker
from lfexp_mcp.services.reading.describe import describe_run
from lfexp_mcp.services.reading.following import Follower, OnProgress
from lfexp_mcp.services.workspace import Workspace

SHORTEST_LOADING = 20.0
"""Seconds that a call at least lets the worker load the scripts."""


async def run_experiment(
    ws: Workspace, request: RunRequest, *, wait_seconds: float = 45, on_progress: OnProgress | None = None
) -> RunAnswer:
    """Run a task on every item of a dataset, score what comes out, and store it in Langfuse.

    The run goes on when the wait is over or the caller goes away; a dry one ends with the call, and leaves nothing.

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
    order, follower = await _start(ws, request, deadline, on_progress)
    if request.dry_run:
        return await _finish_dry_run(ws, request, order, follower, deadline)
    await follower.wait(max(deadline - anyio.current_time(), 0))
    answer = await describe_run(ws, follower.record(), follower)
    await _tidy_up(ws)
    return answer


async def _finish_dry_run(
    ws: Workspace, request: RunRequest, order: PreparedOrder, follower: Follower, deadline: float
) -> RunAnswer:
    """Wait for the end of a dry run, and leave nothing of it, whatever happens."""
    try:
        if not await follower.wait(max(deadline - anyio.current_time(), 0)):
            raise UsageError(
                f"The dry run's {order.manifest.item_count} items did not end in time. Pass a longer wait_seconds, or "
                "an item_timeout."
            )
        answer = await describe_run(ws, follower.record(), follower)
        estimate = await estimate_whole(ws, follower.record(), order.manifest.dry_run_of or 0)
        return _of_dry_run(answer, request, estimate)
    finally:
        await _remove(order)


async def _remove(order: PreparedOrder) -> None:
    """End a run of which nothing shall stay, and delete its folder."""
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(kill_worker, order.folder)
        await anyio.to_thread.run_sync(order.folder.delete)


async def _start(
    ws: Workspace, request: RunRequest, deadline: float, on_progress: OnProgress | None
) -> tuple[PreparedOrder, Follower]:
    """Prepare the order while a worker starts, and hand it over."""
    # A resumed run is started by the interpreter that it was begun with, which its order tells.
    worker = None if request.resume else await start_worker(ws, request.python)
    try:
        order = await prepare_order(ws, request)
        worker = worker or await start_worker(ws, order.manifest.python)
        follower = await _hand_over(order, worker, deadline, on_progress)
    finally:
        if worker is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(worker.dismiss)
    return order, follower


async def _hand_over(
    order: PreparedOrder, worker: WorkerProcess, deadline: float, on_progress: OnProgress | None
) -> Follower:
    """Give a worker the order, and see it begin, unless the scripts take too long to load."""
    folder = order.folder
    with folder.starting():
        order.write()
        try:
            await worker.give(Order(run=folder.path))
            follower = Follower(folder, on_progress)
            async with open_group() as group:
                group.cancel_scope.deadline = max(deadline, anyio.current_time() + SHORTEST_LOADING)
                group.start_soon(follower.report)
                await worker.begin()
                group.cancel_scope.cancel()
        except RunExistsError:
            # Another worker has the folder.
            raise
        except LfexpError:
            # A worker that died while it loaded the scripts has left a log, which may say why.
            if order.is_new and not folder.read_state().loading:
                folder.delete()
            raise
        except anyio.get_cancelled_exc_class():
            if order.manifest.dry_run_of is not None:
                await _remove(order)
            raise
    return follower


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
