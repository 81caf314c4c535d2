"""Running the variants of a sweep side by side."""

from collections.abc import Sequence
from functools import partial

import anyio

from lfexp_mcp.answers.run import SweepAnswer
from lfexp_mcp.errors import LfexpError, NotFoundError
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import NextStep, Progress
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments import run_experiment as single
from lfexp_mcp.services.experiments.maintenance import tidy_up
from lfexp_mcp.services.launches import Launch, StartGate
from lfexp_mcp.services.next_steps import running_steps
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.run_requests import RunRequest, VariantRequest
from lfexp_mcp.services.runs.follower import Follower, OnProgress
from lfexp_mcp.services.runs.run_answer import combine_states, describe_journal, describe_launch, launch_progress
from lfexp_mcp.services.sweeps.ranking import rank_runs
from lfexp_mcp.services.workspace import Workspace

REPORT_INTERVAL_S = 1.0
MIN_RANKING_S = 10.0
"""How long the runs may take to be read and compared, also where the call's time is over."""
NOT_RANKED = "The runs were not compared within the time of this call; compare_runs does it."


async def run(
    ws: Workspace, request: RunRequest, *, wait_seconds: float = 45, on_progress: OnProgress | None = None
) -> SweepAnswer:
    """Run an experiment, or one for each of its variants; see `run_experiment`.

    The runs of a sweep begin together or not at all, and share `max_concurrency` evenly, so that a slow hour slows all
    alike. Otherwise each is a run like any other, with a process, a folder and an experiment of its own. The answer is
    about all of them, with a ranking once all have ended.

    Raises:
        LfexpError: As `run_experiment`; of a sweep, the text names the run.
    """
    if request.variants is None:
        answer = await single.run_experiment(ws, request, wait_seconds=wait_seconds, on_progress=on_progress)
        return SweepAnswer(**dict(answer))
    deadline = anyio.current_time() + wait_seconds
    launches = await _begin(ws, request)
    errors: list[LfexpError] = []

    async def stay(launch: Launch) -> None:
        try:
            await launch.wait(deadline + single.START_GRACE_S - anyio.current_time())
        except LfexpError as error:
            errors.append(error)
        else:
            if launch.folder is not None:
                await Follower(ws.replays.of(launch.folder)).wait(deadline - anyio.current_time())

    async with open_group() as reporting:
        if on_progress is not None:
            reporting.start_soon(_report, ws, launches, on_progress)
        async with open_group() as group:
            for launch in launches:
                group.start_soon(stay, launch)
        reporting.cancel_scope.cancel()
    if errors:
        raise errors[0]
    sweep = await _describe(ws, request, launches, deadline + single.START_GRACE_S)
    await tidy_up(ws)
    return sweep


async def _begin(ws: Workspace, request: RunRequest) -> list[Launch]:
    requests = request.variant_requests()
    dataset = await ws.gateway.datasets.get(request.dataset or "")
    ids = [await ws.gateway.experiments.id_of(dataset.id, each.run_name) for each in requests]
    together = single.Together(StartGate(len(requests)), tuple(ws.runs.folder(each).path for each in ids))
    launches: list[Launch] = []
    try:
        for each in requests:
            work = partial(_launch, ws, each, together)
            launches.append(ws.launches.begin(each.dataset_name, each.run_name, each, work))
    except LfexpError:
        for launch in launches:
            await launch.cancel()
        raise
    return launches


async def _launch(ws: Workspace, request: VariantRequest, together: single.Together, launch: Launch) -> None:
    async with together.gate.passing(f"Run {request.run_name!r}"):
        try:
            await single.launch_one(ws, request, launch, together)
        except NotFoundError:
            if not request.resume:
                raise
            # A resume goes on with the runs that there are, and begins the others.
            await single.launch_one(ws, request.model_copy(update={"resume": False}), launch, together)


async def _report(ws: Workspace, launches: Sequence[Launch], on_progress: OnProgress) -> None:
    while True:
        await anyio.sleep(REPORT_INTERVAL_S)
        parts = [
            Follower(ws.replays.of(launch.folder)).progress() if launch.folder else launch_progress(launch)
            for launch in launches
        ]
        done, total, failed, running = (
            sum(getattr(part, name) for part in parts) for name in ("done", "total", "failed", "running")
        )
        await on_progress(Progress(done=done, total=total, failed=failed, running=running))


async def _describe(ws: Workspace, request: RunRequest, launches: Sequence[Launch], until: float) -> SweepAnswer:
    """Describe all runs of a sweep, and rank them if they have ended."""
    runs = [
        await describe_journal(ws, launch.folder, until) if launch.folder else describe_launch(ws, launch)
        for launch in launches
    ]
    names = [launch.run_name for launch in launches]
    shown = {run.run_name: f"{run.status}: {run.succeeded} of {run.total_items} succeeded" for run in runs}
    answer = combine_states(SweepAnswer, request.run_name, runs)
    answer.variants = shown
    compare = NextStep("compare_runs", {"dataset": answer.dataset, "runs": [*names]}, "See what changed, item by item.")
    running = next((run for run in runs if run.status == "running"), None)
    if running is not None:
        why = "Compare the runs when all have ended."
        answer.next = [*running_steps(answer.dataset, running.run_name), NextStep(compare.tool, compare.arguments, why)]
        return answer
    answer.next = [compare] if len(names) > 1 else [step for run in runs for step in run.next]
    if len(names) > 1:
        with anyio.move_on_after(max(until - anyio.current_time(), MIN_RANKING_S)) as scope:
            found = await compare_runs(ws, CompareRequest(dataset=answer.dataset, runs=names))
            answer.ranking, notes = rank_runs(found)
            answer.warnings += notes
        if scope.cancelled_caught:
            answer.warnings.append(NOT_RANKED)
    return answer
