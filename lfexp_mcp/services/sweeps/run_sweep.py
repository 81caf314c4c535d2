"""Running the variants of a sweep side by side."""

from collections.abc import Sequence
from functools import partial

import anyio

from lfexp_mcp.answers.run import SweepAnswer
from lfexp_mcp.errors import NotFoundError
from lfexp_mcp.model import NextStep
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments import run_experiment as single
from lfexp_mcp.services.experiments.maintenance import tidy_up
from lfexp_mcp.services.experiments.together import Start, begin_together, wait_for_all
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.next_steps import running_steps
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.run_requests import RunRequest, VariantRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.runs.run_answer import combine_states, describe_journal, describe_launch
from lfexp_mcp.services.sweeps.ranking import rank_runs
from lfexp_mcp.services.workspace import Workspace

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
    await wait_for_all(ws, launches, deadline, on_progress)
    sweep = await _describe(ws, request, launches, deadline + single.START_GRACE_S)
    await tidy_up(ws)
    return sweep


async def _begin(ws: Workspace, request: RunRequest) -> list[Launch]:
    requests = request.variant_requests()
    dataset = await ws.gateway.datasets.get(request.dataset or "")
    return await begin_together(
        ws, dataset, [Start(each.run_name, each, partial(_launch, ws, each)) for each in requests]
    )


async def _launch(ws: Workspace, request: VariantRequest, together: single.Together, launch: Launch) -> None:
    try:
        await single.launch_one(ws, request, launch, together)
    except NotFoundError:
        if not request.resume:
            raise
        # A resume goes on with the runs that there are, and begins the others.
        await single.launch_one(ws, request.model_copy(update={"resume": False}), launch, together)


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
