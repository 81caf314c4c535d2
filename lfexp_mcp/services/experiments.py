"""Running experiments: starting, waiting, cancelling."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from lfexp_mcp.answers.base import NextStep
from lfexp_mcp.answers.run import RunAnswer, RunEstimate
from lfexp_mcp.errors import BackendError, LfexpError, NotFoundError, RunExistsError, StateError, WorkerError
from lfexp_mcp.groups import open_group
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.process import WorkerProcess, kill_process_tree
from lfexp_mcp.runs.protocol import Order
from lfexp_mcp.services.describe import describe_run
from lfexp_mcp.services.estimate import estimate_whole
from lfexp_mcp.services.following import Follower, OnProgress
from lfexp_mcp.services.orders import prepare_order, worker_interpreter
from lfexp_mcp.services.workspace import Workspace

READY_AFTER = 2.0
"""Seconds that the call which opened the workspace has the machine for itself."""
SHORTEST_LOADING = 20.0
"""Seconds that a call at least lets the worker load the scripts."""
CANCEL_PATIENCE = 15.0
"""Seconds that a cancel waits for the run to end, its grace period not counted."""


class RunRequest(BaseModel):
    """What to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_name: str = Field(min_length=1, max_length=200, description="Unique name for this run within its dataset.")
    task_script: Path | None = Field(default=None, description="Python file with a `task(*, item, **kwargs)` function.")
    dataset: str | None = Field(default=None, description="Name of the dataset.")
    source_type: Literal["dataset", "live"] = "dataset"
    sample_size: int = Field(default=10, ge=1, description="Traces to take in live mode.")
    use_langfuse_judges: bool = False
    judges: list[str] | None = None
    evaluator_script: Path | None = None
    max_concurrency: int = Field(default=5, ge=1, le=1000, description="Items at work at once.")
    description: str | None = None
    metadata: dict[str, JsonValue] | None = None
    resume: bool = Field(default=False, description="Run only what is missing or failed.")
    python: Path | None = Field(default=None, description="Interpreter that runs the scripts.")
    item_timeout: float | None = Field(default=None, gt=0, description="Seconds for one call of the task.")
    run_timeout: float | None = Field(default=None, gt=0, description="Seconds for the whole run.")
    task_retries: int = Field(default=0, ge=0, le=100)
    repeats: int = Field(default=1, ge=1, le=100)
    fail_on_error: int | float | None = Field(
        default=None, gt=0, description="Stop after so many failures, or (below 1) this share of failures."
    )
    judge_samples: int = Field(default=1, ge=1, le=100)
    dry_run: bool = False
    max_cost: float | None = Field(default=None, gt=0)
    task_prompt: str | None = None
    model: str | None = None
    provider: Literal["openai", "anthropic"] | None = None

    @field_validator("fail_on_error")
    @classmethod
    def _counts_from_one(cls, value: float | None) -> int | float | None:
        return int(value) if value is not None and value >= 1 else value

    @model_validator(mode="after")
    def _is_complete(self) -> "RunRequest":
        if (self.task_script is None) == (self.task_prompt is None):
            raise ValueError("pass either task_script (a Python file with a `task` function) or task_prompt, not both")
        if self.source_type == "dataset" and not self.dataset:
            raise ValueError("pass the dataset to run over, or source_type='live'")
        if not self.run_name.strip():
            raise ValueError("run_name is blank")
        return self


async def run_experiment(
    ws: Workspace, request: RunRequest, *, wait_seconds: float = 45, on_progress: OnProgress | None = None
) -> RunAnswer:
    """Run a task on every item of a dataset, score what comes out, and store it in Langfuse.

    The run goes on when the wait is over or the caller goes away.

    Args:
        ws: The workspace.
        request: What to run.
        wait_seconds: How long to wait for the end; a few seconds longer where the scripts take so long to load, since
            what is wrong with them is this call's answer.
        on_progress: Told how far the run has come, at most once a second and at least every ten.

    Returns:
        The run as it stands when it ends or the wait is over.

    Raises:
        NotFoundError: There is no such dataset, or nothing to resume.
        RunExistsError: The name has items already, or a process at work.
        ScriptError: A script cannot be used.
        JudgeError: A judge cannot be used.
        WorkerError: The worker could not start.
        StateError: The runs' folder cannot be used.
        BackendError: Langfuse did not answer.
    """
    deadline = anyio.current_time() + (math.inf if request.dry_run else wait_seconds)
    interpreter = worker_interpreter(ws, request.python)
    worker = await anyio.to_thread.run_sync(ws.workers.start, interpreter)
    try:
        folder, follower = await _start(ws, request, worker, deadline, on_progress)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(worker.dismiss)
    ended = await follower.wait(max(deadline - anyio.current_time(), 0))
    answer = await _answer(ws, folder, follower, _resume_arguments(request))
    if request.dry_run and ended:
        estimate = await estimate_whole(ws, folder.read_record(), folder.manifest().dry_run_of or 0)
        await anyio.to_thread.run_sync(folder.delete)
        return _of_dry_run(answer, request, estimate)
    await anyio.to_thread.run_sync(ws.runs.prune, ws.settings.keep_runs)
    if ws.workers.wants_spare:
        await prepare_worker(ws)
    return answer


async def _start(
    ws: Workspace, request: RunRequest, worker: WorkerProcess, deadline: float, on_progress: OnProgress | None
) -> tuple[RunFolder, Follower]:
    """Write the order, hand it to the worker, and see it begin, unless the scripts take too long to load."""
    prepared = await prepare_order(ws, request)
    folder = prepared.folder
    with folder.starting():
        prepared.write()
        try:
            await worker.give(Order(folder=folder.path))
            follower = Follower(folder, on_progress)
            async with open_group() as group:
                group.cancel_scope.deadline = max(deadline, anyio.current_time() + SHORTEST_LOADING)
                group.start_soon(follower.report)
                await worker.begin()
                group.cancel_scope.cancel()
        except LfexpError:
            # A worker that died while it loaded the scripts has left a log, which may say why.
            if prepared.is_new and not folder.read_state().loading:
                folder.delete()
            raise
    return folder, follower


def _of_dry_run(answer: RunAnswer, request: RunRequest, estimate: RunEstimate) -> RunAnswer:
    """The answer of a run of which nothing is left."""
    step = NextStep(
        tool="run_experiment",
        arguments=request.model_copy(update={"dry_run": False}).model_dump(mode="json", exclude_defaults=True),
        why="Run the whole dataset.",
    )
    left_out = {"experiment_url": None, "undelivered": 0, "log": None}
    return answer.model_copy(update={**left_out, "estimate": estimate, "next": [step]})


async def wait_for_run(
    ws: Workspace, dataset: str, run_name: str, seconds: float, on_progress: OnProgress | None = None
) -> None:
    """Wait until a run at work on this machine ends, or the time is over; return at once for all others.

    Raises:
        NotFoundError: There is no such dataset.
    """
    folder = await _find(ws, dataset, run_name)
    if folder is not None and folder.is_alive():
        await Follower(folder, on_progress).wait(seconds)


async def cancel_run(ws: Workspace, dataset: str, run_name: str) -> RunAnswer:
    """Stop a run at work on this machine: no new items, a grace period for those at work, all that is done is kept.

    A run that has ended already is left as it is.

    Raises:
        NotFoundError: There is no such dataset, or no such run on this machine.
    """
    folder = await _find(ws, dataset, run_name)
    if folder is None:
        raise NotFoundError(
            f"Run {run_name!r} of dataset {dataset!r} is not at work on this machine. "
            "list_runs names the runs; one at work elsewhere is cancelled there."
        )
    if folder.is_alive():
        folder.request_cancel()
        follower = Follower(folder)
        grace = folder.manifest().limits.cancel_grace
        if not await follower.wait(grace + CANCEL_PATIENCE) and folder.is_hung():
            await _kill(folder)
    return await _answer(ws, folder, Follower(folder), None)


async def kill_run(ws: Workspace, dataset: str, run_name: str) -> None:
    """End the process of a run at once, with the processes that it started; what is journaled is kept.

    Raises:
        NotFoundError: There is no such dataset.
    """
    folder = await _find(ws, dataset, run_name)
    if folder is not None:
        await _kill(folder)


async def _kill(folder: RunFolder) -> None:
    pid = folder.worker_pid()
    if pid is None or not folder.is_alive():
        return
    await anyio.to_thread.run_sync(kill_process_tree, pid)
    await anyio.to_thread.run_sync(folder.note_killed)


async def _find(ws: Workspace, dataset: str, run_name: str) -> RunFolder | None:
    found = await ws.gateway.dataset(dataset)
    return ws.runs.find(await ws.gateway.experiment_id(found.id, run_name))


async def _answer(
    ws: Workspace, folder: RunFolder, follower: Follower, resume_arguments: dict[str, JsonValue] | None
) -> RunAnswer:
    record = follower.record()
    return await describe_run(
        ws,
        record,
        progress=follower.progress() if record.status == "running" else None,
        undelivered=follower.undelivered(),
        log=str(folder.log_path) if folder.has_log() else None,
        resume_arguments=resume_arguments,
    )


def _resume_arguments(request: RunRequest) -> dict[str, JsonValue]:
    return request.model_dump(mode="json", exclude_defaults=True)


async def get_ready(ws: Workspace) -> None:
    """Do in the background what helps later calls of a server: send what earlier runs left, keep a spare worker.

    What goes wrong is left to the calls that need it, which say so.
    """
    await anyio.sleep(READY_AFTER)
    await send_leftovers(ws)
    with suppress(WorkerError):
        await prepare_worker(ws)


async def send_leftovers(ws: Workspace) -> None:
    """Begin to send what earlier runs left; what goes wrong is left to the calls that need it, which say so."""
    with suppress(BackendError, StateError, WorkerError):
        await deliver_pending(ws)


async def prepare_worker(ws: Workspace) -> None:
    """Keep a spare worker at hand from now on, so that runs begin sooner; for processes that live on after a call.

    Raises:
        WorkerError: The interpreter cannot be started.
    """
    ws.workers.wants_spare = True
    await anyio.to_thread.run_sync(ws.workers.keep_spare, worker_interpreter(ws, None))


async def deliver_pending(ws: Workspace) -> int:
    """Send what earlier runs of this project have left on this machine, in processes of their own.

    Cheap when there is nothing to send. A run that lacked only the acknowledgement is complete then.

    Returns:
        How many runs have something to send.

    Raises:
        BackendError: Langfuse did not answer.
        StateError: The runs' folder cannot be read.
    """
    waiting = [folder for folder in ws.runs.all() if _waits(folder)]
    if not waiting:
        return 0
    project = await ws.gateway.project_id()
    interpreter = worker_interpreter(ws, None)
    theirs = [folder for folder in waiting if folder.manifest().project_id == project]
    for folder in theirs:
        worker = await anyio.to_thread.run_sync(ws.workers.start, interpreter)
        # Another process may have begun to send it, or to go on with it, meanwhile.
        with suppress(RunExistsError):
            await worker.give(Order(folder=folder.path, deliver_only=True))
            await worker.begin()
    return len(theirs)


def _waits(folder: RunFolder) -> bool:
    try:
        return folder.has_undelivered() and not folder.is_alive()
    except StateError:
        # Whoever asks for that run is told; the others are not held up by it.
        return False
