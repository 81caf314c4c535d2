"""Sweeps: several runs in one call, side by side, ranked against the first."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import anyio

from lfexp_mcp.answers.comparison import Comparison, ScoreComparison
from lfexp_mcp.answers.run import RankedRun, SweepAnswer
from lfexp_mcp.model import NextStep
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments import run_experiment as single
from lfexp_mcp.services.experiments.maintenance import tidy_up
from lfexp_mcp.services.experiments.preparation import prepare_run
from lfexp_mcp.services.experiments.recordings import is_replay
from lfexp_mcp.services.experiments.together import Start, begin_together, wait_for_all
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.next_steps import running_steps
from lfexp_mcp.services.requests import CompareRequest, RunRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.runs.run_answer import combine_progress, describe_journal, describe_launch
from lfexp_mcp.services.spending import check_spending, shown_name
from lfexp_mcp.services.workspace import Workspace

MIN_RANKING_S = 10.0
"""How long the runs may take to be read and compared, also where the call's time is over."""
NOT_RANKED = "The runs were not compared within the time of this call; compare_runs does it."


async def run(
    ws: Workspace,
    request: RunRequest,
    *,
    wait_seconds: float = 45,
    on_progress: OnProgress | None = None,
    agreed: Collection[str] | None = None,
) -> SweepAnswer:
    """Run an experiment, or one for each of its variants; see `run_experiment`.

    The runs of a sweep begin together or not at all, and share `max_concurrency` evenly, so that a slow hour slows all
    alike. Otherwise each is a run like any other, with a process, a folder and an experiment of its own. The answer is
    about all of them, with a ranking once all have ended.

    Args:
        wait_seconds: See `run_experiment`.
        on_progress: See `run_experiment`.
        agreed: See `check_spending`.

    Raises:
        ConfirmationError: The user has to agree to the cost first.
        LfexpError: As `run_experiment`; of a sweep, the text names the run.
    """
    # What is checked first is part of the call's time.
    deadline = anyio.current_time() + wait_seconds
    if await _may_spend(ws, request):
        variants = f", {len(request.variants)} variants" if request.variants else ""
        work = "Try two items of run" if request.dry_run else "Run"
        what = f"{work} {shown_name(request.run_name)} over dataset {shown_name(request.dataset_name)}{variants}."
        await check_spending(ws, agreed, "run_experiment", request, what, partial(_cost, ws, request))
    if request.variants is None:
        left = max(deadline - anyio.current_time(), 0)
        answer = await single.run_experiment(ws, request, wait_seconds=left, on_progress=on_progress)
        return SweepAnswer(**dict(answer))
    starts = [Start(each.run_name, each, partial(single.launch_one, ws, each)) for each in request.variant_requests()]
    dataset = await ws.gateway.datasets.get(request.dataset or "")
    launches = await begin_together(ws, dataset, starts)
    await wait_for_all(ws, launches, deadline, on_progress)
    sweep = await describe_sweep(ws, request.run_name, launches, deadline + single.START_GRACE_S)
    await tidy_up(ws)
    return sweep


async def _may_spend(ws: Workspace, request: RunRequest) -> bool:
    """Whether a run asks judges, or a model for its task."""
    if is_replay(request):
        return False
    prompts = [request.task_prompt, *(variant.task_prompt for variant in request.variants or ())]
    if request.names_judges or any(prompts):
        return True
    folder = await find_run_folder(ws, request.dataset_name, request.run_name) if request.resume else None
    return request.resume and (folder is None or bool(folder.run_spec().models))


async def _cost(ws: Workspace, request: RunRequest) -> float | None:
    """Prepare what is to run, as far as that stores nothing, and return what it may cost; see `check_spending`."""
    models: list[str] = []
    for each in request.variant_requests() if request.variants is not None else [request]:
        if each.source_type == "live":
            # The traces are copied when the run begins.
            each = each.model_copy(update={"dry_run": True})
        models += (await prepare_run(ws, each)).run_spec.models
    return request.max_cost if models else 0.0


async def describe_sweep(
    ws: Workspace, name: str, launched: Sequence[Launch | RunFolder], until: float = math.inf
) -> SweepAnswer:
    """Describe all runs of a sweep, and rank them if they have ended.

    Args:
        name: The sweep's.
        launched: Its runs.
        until: When the answer is due, on anyio's clock.

    Raises:
        LfexpError: A run cannot be read.
    """
    runs = []
    for one in launched:
        folder = one.folder if isinstance(one, Launch) else one
        if folder is not None:
            runs.append(await describe_journal(ws, folder, until))
        elif isinstance(one, Launch):
            runs.append(describe_launch(ws, one))
    names = [run.run_name for run in runs]
    shown = {run.run_name: f"{run.status}: {run.succeeded} of {run.total_items} succeeded" for run in runs}
    answer = combine_progress(SweepAnswer, name, runs)
    answer.variants = shown
    compare = NextStep("compare_runs", {"dataset": answer.dataset, "runs": [*names]}, "See what changed, item by item.")
    running = next((run for run in runs if run.status == "running"), None)
    if running is not None:
        why = "Compare the runs when all have ended."
        answer.next = [*running_steps(answer.dataset, running.run_name), replace(compare, why=why)]
        return answer
    unfinished = [run for run in runs if run.status != "completed"]
    resumes = [step for run in unfinished for step in run.next if step.tool == "run_experiment"]
    answer.next = [compare, *resumes] if len(names) > 1 else [*runs[0].next]
    if len(names) > 1:
        with anyio.move_on_after(max(until - anyio.current_time(), MIN_RANKING_S)) as scope:
            found = await compare_runs(ws, CompareRequest(dataset=answer.dataset, runs=names))
            answer.ranking, notes = rank_runs(found)
            answer.warnings += notes
        if scope.cancelled_caught:
            answer.warnings.append(NOT_RANKED)
    return answer


DECIMALS = 9
"""Further decimals of a difference hold rounding errors."""


def rank_runs(comparison: Comparison) -> tuple[list[RankedRun], list[str]]:
    """Rank runs, per score, by their difference to the first on the items that both have.

    The means over all items of each run would favour one that failed on the hard items. Runs that differ by nothing
    share a rank; one that cannot be compared, or a score of which it is unknown whether more is better, has none.

    Returns:
        Per score, the runs with the best first; and notes on what the ranking does not show.
    """
    ranked: list[RankedRun] = []
    notes: list[str] = []
    for name in dict.fromkeys(each.score for each in comparison.scores):
        scores = [each for each in comparison.scores if each.score == name]
        ranked += _rank(name, scores, comparison)
        notes += (f"{each.run}: {each.reason}" for each in scores if each.verdict == "not comparable")
        if not any(each.verdict in ("better", "higher") for each in scores):
            notes.append(f"No run is shown to be better than {comparison.baseline!r} on {name!r}.")
    return ranked, notes


def _rank(name: str, scores: Sequence[ScoreComparison], comparison: Comparison) -> list[RankedRun]:
    base = comparison.baseline
    gains = {} if any(each.lower_is_better is None for each in scores) else _gains(scores, base)
    rows = [
        RankedRun(
            score=name,
            run=each.run,
            rank=_place(gains, each.run),
            mean=each.mean,
            delta=each.delta,
            p_adjusted=each.p_adjusted,
            verdict=each.verdict,
            pairs=each.pairs,
        )
        for each in scores
    ]
    means = {run.run: run.means.get(name) for run in comparison.runs}
    rows.append(RankedRun(score=name, run=base, rank=_place(gains, base), mean=means.get(base), verdict="first run"))
    return sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.run != base))


def _gains(scores: Sequence[ScoreComparison], baseline: str) -> dict[str, float]:
    """How much better each run is than the first; empty if no run can be compared."""
    signs = {each.run: -1 if each.lower_is_better else 1 for each in scores}
    gains = {each.run: signs[each.run] * round(each.delta, DECIMALS) for each in scores if each.delta is not None}
    return {**gains, baseline: 0.0} if gains else {}


def _place(gains: dict[str, float], run: str) -> int | None:
    return 1 + sum(gain > gains[run] for gain in gains.values()) if run in gains else None
