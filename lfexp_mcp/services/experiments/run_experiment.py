"""Launching a run, and waiting for it for a while."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from uuid import uuid4

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import RunAnswer, RunEstimate
from lfexp_mcp.errors import LfexpError, RunExistsError, UsageError
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.prices import PriceTable, open_prices
from lfexp_mcp.model import ModelUsage, NextStep, RunRecord, RunSpec
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.killing import kill_worker
from lfexp_mcp.runs.process import WorkerProcess
from lfexp_mcp.runs.protocol import WorkerCommand
from lfexp_mcp.services.experiments.maintenance import tidy_up
from lfexp_mcp.services.experiments.preparation import PreparedRun, prepare_run, wait_for_release
from lfexp_mcp.services.experiments.recordings import is_replay
from lfexp_mcp.services.experiments.workers import replace_spares, start_worker
from lfexp_mcp.services.launches import Launch, StartGate
from lfexp_mcp.services.next_steps import resume_step
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.runs.follower import Follower, OnProgress
from lfexp_mcp.services.runs.local_runs import read_journal
from lfexp_mcp.services.runs.run_answer import describe_journal, describe_launch, launch_progress
from lfexp_mcp.services.workspace import Workspace

START_GRACE_S = 3.0
"""How long a call waits, beyond its time, for the scripts to load, so that it can report errors in them, and for its
answer."""
REPORT_INTERVAL_S = 2.0
"""Between two signs of life while a run is being prepared."""


async def run_experiment(
    ws: Workspace, request: RunRequest, *, wait_seconds: float = 45, on_progress: OnProgress | None = None
) -> RunAnswer:
    """Run a task on every item of a dataset, score the outputs, and store both in Langfuse.

    The run goes on when the wait is over or the caller goes away, even while it is still being prepared. A dry run ends
    with the call, and leaves nothing.

    Args:
        wait_seconds: How long to wait for the end; a few seconds longer while the scripts are being loaded.
        on_progress: Called with the run's progress, at most once a second and at least every ten.

    Returns:
        The run as it stands when it ends or the wait is over.

    Raises:
        UsageError: A script or judge cannot be used, the run exists already, or there is none to resume; or a dry run
            did not end in time.
        WorkerError: The worker could not start.
        StateError: The runs' folder cannot be used.
        BackendError: Langfuse did not answer.
    """
    deadline = anyio.current_time() + wait_seconds
    if request.dry_run:
        return await _dry_run(ws, request, deadline)
    launch = ws.launches.begin(request.dataset_name, request.run_name, request, partial(launch_one, ws, request))
    return await follow_launch(ws, launch, deadline, on_progress)


async def follow_launch(
    ws: Workspace, launch: Launch, deadline: float, on_progress: OnProgress | None = None
) -> RunAnswer:
    """Wait for the end of a run that is being launched, and describe it as it stands then.

    Args:
        deadline: When the wait is over, on anyio's clock.
        on_progress: Called with the progress.

    Raises:
        LfexpError: It could not be launched.
    """
    folder = await _wait_for_worker(launch, deadline, on_progress)
    if folder is None:
        return describe_launch(ws, launch)
    await Follower(ws.replays.of(folder), on_progress).wait(deadline - anyio.current_time())
    answer = await describe_journal(ws, folder, deadline + START_GRACE_S)
    await tidy_up(ws)
    return answer


async def _wait_for_worker(launch: Launch, deadline: float, on_progress: OnProgress | None) -> RunFolder | None:
    """Return the run's folder as soon as a worker has it and has loaded its scripts, or the time is over.

    Returns:
        None if no worker has it by then.

    Raises:
        LfexpError: It could not be launched.
    """

    async def report() -> None:
        # So that a client sees that the call is alive.
        while on_progress is not None:
            await anyio.sleep(REPORT_INTERVAL_S)
            await on_progress(launch_progress(launch))

    async with open_group() as group:
        group.start_soon(report)
        if await launch.wait(deadline + START_GRACE_S - anyio.current_time(), until_taken=True):
            await launch.wait(deadline + START_GRACE_S - anyio.current_time())
        group.cancel_scope.cancel()
    return launch.folder


async def _dry_run(ws: Workspace, request: RunRequest, deadline: float) -> RunAnswer:
    """Carry a dry run out, and leave nothing of it, whatever happens."""
    name = f"{request.run_name} (dry run {uuid4()})"
    launch = ws.launches.begin(request.dataset_name, name, request, partial(launch_one, ws, request))
    try:
        folder = await _wait_for_worker(launch, deadline, None)
        follower = Follower(ws.replays.of(folder)) if folder else None
        if folder is None or follower is None or not await follower.wait(max(deadline - anyio.current_time(), 0)):
            raise UsageError("The dry run did not end in time. Pass a longer wait_seconds, or an item_timeout.")
        record = await read_journal(ws, folder)
        answer = await describe_journal(ws, folder)
        step = NextStep(
            tool="run_experiment",
            arguments=request.model_copy(update={"dry_run": False}).model_dump(mode="json", exclude_defaults=True),
            why="Run all of it.",
        )
        results = follower.run_spec.dry_run_of or 0
        estimate = await estimate_from(ws, record, results)
        part = replace(record.plan, items=results // request.repeats).part_shown if record.plan else None
        changes = {"experiment_url": None, "undelivered": 0, "log": None, "estimate": estimate, "next": [step]}
        return answer.model_copy(update={**changes, "part": part})
    finally:
        # Nothing is left of a call that is cancelled, either.
        with anyio.CancelScope(shield=True):
            await launch.cancel()
            if launch.folder is not None:
                await anyio.to_thread.run_sync(kill_worker, launch.folder)
                await anyio.to_thread.run_sync(launch.folder.delete)


async def estimate_from(ws: Workspace, sample: RunRecord, results: int) -> RunEstimate:
    """Estimate what the judges and the prompt task of a run of so many results would use of models, by another run."""
    by_model: dict[str, ModelUsage] = {}
    for user, usage in sample.model_usage.items():
        by_model[user.model] = by_model.get(user.model, ModelUsage()) + usage
    prices = await open_prices(await ws.gateway.model_prices() if by_model else [], by_model)
    return estimate_run(by_model, sample.total_items, results, prices)


def estimate_run(sample: Mapping[str, ModelUsage], sampled: int, results: int, prices: PriceTable) -> RunEstimate:
    """Scale what a few results used up to a whole run.

    Args:
        sample: The usage by model.
        sampled: Number of results in the sample, at least 1.
        results: Number of results in the run, repetitions included.
        prices: Prices of the models.
    """
    factor = results / sampled
    costs = {model: prices.cost(model, usage) for model, usage in sample.items()}
    known = [cost for cost in costs.values() if cost is not None]
    return RunEstimate(
        results=results,
        calls=round(factor * sum(usage.calls for usage in sample.values())),
        input_tokens=round(factor * sum(usage.input_tokens for usage in sample.values())),
        output_tokens=round(factor * sum(usage.output_tokens for usage in sample.values())),
        cost_usd=factor * sum(known) if len(known) == len(costs) else None,
        unknown_prices=sorted(model for model, cost in costs.items() if cost is None),
    )


async def launch_one(ws: Workspace, request: RunRequest, launch: Launch, gate: StartGate | None = None) -> None:
    """Prepare the run while a worker starts, and hand it over.

    Raises:
        LfexpError: As `run_experiment`, or one of the runs that it was to begin together with cannot begin.
    """
    # A resumed run is started with the interpreter it had before, which only its run spec tells.
    worker = None if request.resume else await start_worker(ws, request.python, is_replay=is_replay(request))
    try:
        await launch_prepared(ws, launch, await prepare_run(ws, request), worker, gate)
    finally:
        if worker is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(worker.dismiss)


async def launch_prepared(
    ws: Workspace,
    launch: Launch,
    prepared: PreparedRun,
    worker: WorkerProcess | None = None,
    gate: StartGate | None = None,
) -> None:
    """Hand a run over to a worker, which is started if there is none, and dismissed if it does not take it.

    Raises:
        LfexpError: It could not be launched.
    """
    asked = prepared.scoring or prepared.run_spec
    _check_files(ws, asked)
    launch.run_spec = asked
    replays = prepared.scoring is None and prepared.run_spec.is_replay
    worker = worker or await start_worker(ws, asked.python, is_replay=replays)
    try:
        await _hand_over(prepared, worker, launch, gate)
        await replace_spares(ws, asked)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(worker.dismiss)


def _check_files(ws: Workspace, run_spec: RunSpec) -> None:
    """Refuse files and clusters that the call may not name, also those that a run has from an earlier call."""
    options = run_spec.engine_options
    is_known = options.address in (None, ws.settings.ray_address)
    if ws.allowed_folders is not None and not (is_known and not options.runtime_env and not options.env_vars):
        # They would be reached from here, and execute what is named.
        raise UsageError(
            "Over HTTP, engine_options may name resources and a working_dir. The cluster is that of LFEXP_RAY_ADDRESS "
            "of the server, and its nodes have what scripts need."
        )
    recording = run_spec.recording.file if run_spec.recording is not None else None
    scripts = {"task script": run_spec.task_script, "evaluator script": run_spec.evaluator_script}
    files = {**scripts, "recording": recording, "working_dir": options.working_dir}
    for what, path in files.items():
        if path is not None:
            ws.locate(path, what)


async def _hand_over(prepared: PreparedRun, worker: WorkerProcess, launch: Launch, gate: StartGate | None) -> None:
    """Give the run to a worker, and wait until it has loaded the scripts."""
    folder = prepared.folder
    with folder.worker.preparing():
        if folder.worker.is_delivering():
            await wait_for_release(folder)
        # In a thread, since the items of a large run take a while.
        await anyio.to_thread.run_sync(prepared.write)
        try:
            # Once the worker may have read the command, only the folder tells whether the run has started.
            with anyio.CancelScope(shield=True):
                together = gate.folders if gate is not None else ()
                command = WorkerCommand(run=folder.path, scores_only=prepared.scoring is not None, together=together)
                await worker.give(command)
                launch.folder = folder
            await worker.begin()
            if gate is not None:
                await _begin_together(worker, folder, gate)
        except RunExistsError:
            # Another worker has the folder.
            raise
        except LfexpError as error:
            # The folder stays if nobody waits for the error, or if a worker that died while it loaded the scripts has
            # left a log there.
            if prepared.is_new and launch.is_awaited and not folder.read_state().loading:
                folder.delete()
            elif prepared.scoring is None:
                spec, why = prepared.run_spec, "Resume the run once that is fixed."
                error.next = error.next or (resume_step(spec.dataset_name, spec.run_name, why=why),)
            raise


async def _begin_together(worker: WorkerProcess, folder: RunFolder, gate: StartGate) -> None:
    try:
        await gate.wait()
    except LfexpError:
        await anyio.to_thread.run_sync(worker.dismiss)
        await wait_for_release(folder)
        raise
    await anyio.to_thread.run_sync(worker.release)
