"""Comparing runs of a dataset item by item, and gating on the result."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.answers.comparison import (
    ChangeKind,
    ChangeList,
    ComparabilityIssue,
    Comparison,
    Contrast,
    ScoreComparison,
)
from lfexp_mcp.errors import NotFoundError, StateError, UnreadError
from lfexp_mcp.model import JudgeMaker, NextStep
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.scores.score_names import plain_name
from lfexp_mcp.services.answer_size import AnswerSize, fit
from lfexp_mcp.services.comparison.candidates import Candidates, read_candidates
from lfexp_mcp.services.comparison.changes import (
    ChangedItems,
    error_changes,
    find_page,
    read_details,
    score_changes,
    show_changes,
)
from lfexp_mcp.services.comparison.comparability import find_issues
from lfexp_mcp.services.comparison.conditions import Condition, parse_condition
from lfexp_mcp.services.comparison.gate_input import gate_input
from lfexp_mcp.services.comparison.gates import check_gate
from lfexp_mcp.services.comparison.run_metrics import contrast_runs, describe_metrics
from lfexp_mcp.services.comparison.run_pair import RunPair, pair_runs, read_alike
from lfexp_mcp.services.comparison.score_comparison import compare_scores, label_steps, with_correction
from lfexp_mcp.services.labels import Labels
from lfexp_mcp.services.labels.correction import labels_of_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.observations import TaskUsage, read_task_usage
from lfexp_mcp.services.runs.read_run import read_recorded_run
from lfexp_mcp.services.runs.run_summary import summarise_in_time
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_with_configs
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import DEFAULT_MIN_DELTA
from lfexp_mcp.statistics.significance import ALPHA

LOSSES: frozenset[ChangeKind] = frozenset({"worse", "newly erroring"})
"""Changes to propose reading before others."""
HOME_PATIENCE_S = 10.0
"""How long reading one more run may take, to see whether a baseline looks worse than it."""
COMPARISONS_PER_ROW = 5
"""Score comparisons shown per entry that a list of changes may have."""


@dataclass(frozen=True, slots=True)
class _RunComparison:
    """One run against the baseline."""

    pair: RunPair
    issues: list[ComparabilityIssue]
    scores: list[ScoreComparison]
    contrasts: list[Contrast]
    changes: list[ChangedItems]


async def compare_runs(ws: Workspace, request: CompareRequest) -> Comparison:
    """Compare runs item by item.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: The cursor is invalid, or a condition of the gate is, or it names a score that no run has.
    """
    conditions = [parse_condition(expression) for expression in request.fail_if or []]
    baseline = request.baseline or request.runs[0]
    names = [baseline, *(name for name in request.runs if name != baseline)]
    records = await read_alike(ws, request.dataset, names)
    summaries = [await summarise_in_time(ws, record, math.inf) for record in records]
    runs = [
        ScoredRun(record, summary.interpretations, summary.humans)
        for record, summary in zip(records, summaries, strict=True)
    ]
    request, conditions = _by_plain_names(request, conditions, runs)
    usages = [await read_task_usage(ws, record) for record in records]
    scores = _scores_to_compare(request, sorted({score for run in runs for score in run.interpretations}))
    by_item = [usage.items for usage in usages]
    candidates = (await read_candidates(ws, records[0].dataset_id)).including(*records)
    homes = await _read_homes(ws, request.dataset, candidates, runs)
    labels, unread = await labels_of_runs(ws, runs, scores)

    def compare_all() -> list[_RunComparison]:
        return [
            _compare_run(request, scores, runs[0], run, (by_item[0], usage), candidates, homes, (labels[0], given))
            for run, usage, given in zip(runs[1:], by_item[1:], labels[1:], strict=True)
        ]

    # Not waited for when the call's time is over, as all that computes on many results.
    comparisons = await anyio.to_thread.run_sync(compare_all, abandon_on_cancel=True)
    metrics = [
        describe_metrics(record, summary.scores, usage, await ws.gateway.experiment_url(record.experiment_ids[0]))
        for record, summary, usage in zip(records, summaries, by_item, strict=True)
    ]
    changes, start = [listed for one in comparisons for listed in one.changes if listed.changes], 0
    if request.cursor is not None:
        listed, start = find_page(changes, request.cursor)
        changes = [listed]
    changes = await read_details(ws, changes, start, request.limit)
    inputs = [gate_input(one.pair, one.scores, mine) for one, mine in zip(comparisons, metrics[1:], strict=True)]
    gate = check_gate(conditions, inputs, _known_scores(runs)) if conditions else None
    steps = [*await _confirm_steps(ws, request, baseline, comparisons), *label_steps(request.dataset, runs, labels)]
    warnings = [
        f"{record.run_name}: {warning}"
        for record, summary, usage in zip(records, summaries, usages, strict=True)
        for warning in (*record.warnings, *summary.warnings, *usage.warnings)
    ]
    whole = Comparison(
        backend=str(ws.gateway.backend),
        dataset=request.dataset,
        baseline=baseline,
        runs=metrics,
        scores=[score for one in comparisons for score in one.scores],
        contrasts=[contrast for one in comparisons for contrast in one.contrasts],
        comparability=[issue for one in comparisons for issue in one.issues],
        gate=gate,
        pass_mark=PASS_MARK,
        min_delta=request.min_delta or DEFAULT_MIN_DELTA,
        warnings=[*unread, *warnings],
        next=steps,
    )
    further = _score_steps(request, comparisons)
    return fit(lambda size: _at_size(whole, request, changes, start, further, size), request.limit, request.detail)


def _by_plain_names(
    request: CompareRequest, conditions: Sequence[Condition], runs: Sequence[ScoredRun]
) -> tuple[CompareRequest, list[Condition]]:
    """Replace names with a maker by the plain names that stand for them in these runs."""
    makers = [{name: how.makers for name, how in run.interpretations.items()} for run in runs]
    given = {name: getattr(request, name) for name in ("score_name", "primary_score")}
    plain = {name: plain_name(value, makers) for name, value in given.items() if value is not None}
    named = [one if one.name is None else replace(one, name=plain_name(one.name, makers)) for one in conditions]
    return request.model_copy(update=plain), named


async def _read_homes(
    ws: Workspace, dataset: str, candidates: Candidates, runs: Sequence[ScoredRun]
) -> dict[str, ScoredRun]:
    """Read the runs that tell whether a baseline looks worse than the first one, by experiment id."""
    read = {run.record.experiment_ids[0]: run for run in runs}
    for home in candidates.homes(runs[0].record.experiment_ids[0], [run.record.experiment_ids[0] for run in runs[1:]]):
        if home.id not in read:
            # Where it cannot be read, or not while the call waits, the verdict is the stricter one.
            with anyio.move_on_after(HOME_PATIENCE_S), suppress(NotFoundError, StateError, UnreadError):
                record = await read_recorded_run(ws, dataset, home.name)
                read[home.id] = await interpret_with_configs(ws, record)
    return read


def _scores_to_compare(request: CompareRequest, known: Sequence[str]) -> Sequence[str]:
    for named in (request.score_name, request.primary_score):
        if named is not None and named not in known:
            run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": request.runs[-1]}
            see = NextStep("analyze_run", run, "See the scores of a run.")
            raise NotFoundError.of("score in these runs", named, known, next=[see])
    return known if request.score_name is None else [request.score_name]


def _known_scores(runs: Sequence[ScoredRun]) -> list[str]:
    """The scores that a condition may name: those that exist, failed everywhere, or were planned."""
    names = {score for run in runs for score in run.interpretations}
    names |= {missing.name for run in runs for item in run.record.items for missing in item.unscored}
    return sorted(names | {score for run in runs if run.record.plan for score in run.record.plan.scores})


def _compare_run(
    request: CompareRequest,
    scores: Sequence[str],
    baseline: ScoredRun,
    run: ScoredRun,
    usages: tuple[dict[str, TaskUsage], dict[str, TaskUsage]],
    candidates: Candidates,
    homes: dict[str, ScoredRun],
    labels: tuple[dict[str, Labels], dict[str, Labels]],
) -> _RunComparison:
    pair = pair_runs(baseline, run)
    issues = find_issues(pair)
    by_judge = compare_scores(pair, issues, scores, request.min_delta, request.primary_score, candidates, homes)
    compared = [with_correction(one, pair, issues, *labels) for one in by_judge]
    comparable = [one.score for one in compared if one.verdict != "not comparable"]
    changes = [listed for score in comparable for listed in score_changes(pair, score)]
    contrasts = contrast_runs(baseline.record, run.record, *usages)
    return _RunComparison(pair, issues, compared, contrasts, [*changes, *error_changes(pair)])


def _at_size(
    whole: Comparison,
    request: CompareRequest,
    changes: Sequence[ChangedItems],
    start: int,
    further: Sequence[NextStep],
    size: AnswerSize,
) -> Comparison:
    # Each comparison brings two lists of changes, so with little room fewer comparisons show more.
    most = len(whole.scores) + len(whole.comparability)
    if request.detail != "full":
        most = COMPARISONS_PER_ROW * size.rows
    warnings = list(whole.warnings)
    if len(whole.scores) > most:
        text = f"{most} of {len(whole.scores)} comparisons are shown: name a score_name, or ask for detail='full'."
        warnings.append(text)
    shown = {(score.run, score.score) for score in whole.scores[:most]}
    lists = [
        show_changes(listed, start, size)
        for listed in changes
        if request.cursor is not None or listed.score is None or (listed.pair.run.name, listed.score) in shown
    ]
    return whole.model_copy(
        update={
            "scores": whole.scores[:most],
            "comparability": whole.comparability[:most],
            "changes": lists,
            "warnings": warnings,
            "next": [*whole.next, *_next_steps(request, whole.runs[-1].run, lists), *further],
        }
    )


def _next_steps(request: CompareRequest, last_run: str, changes: Sequence[ChangeList]) -> list[NextStep]:
    dataset: dict[str, JsonValue] = {"dataset": request.dataset}
    why = "See what fails in it, and which kinds of items do worse."
    steps = [NextStep("analyze_run", {**dataset, "run_name": last_run, "show_failures": True}, why)]
    losses_first = sorted(changes, key=lambda listed: listed.kind not in LOSSES)
    changed = next((listed for listed in losses_first if listed.items), None)
    if changed is not None:
        item = {**dataset, "run_name": changed.run, "item_id": changed.items[0].item_id}
        steps.append(NextStep("get_run", item, "Read an item that changed in full."))
    longer = next((listed for listed in losses_first if listed.next_cursor is not None), None)
    if longer is not None:
        given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"fail_if"})
        why = f"List more of the items {longer.kind}; each list has its own next_cursor."
        steps.append(NextStep("compare_runs", {**given, "cursor": longer.next_cursor}, why))
    return steps


async def _confirm_steps(
    ws: Workspace, request: CompareRequest, baseline: str, comparisons: Sequence[_RunComparison]
) -> list[NextStep]:
    """Propose to confirm the run that is better by most, or would be if fewer had been tried before it.

    There is none to propose if no items of the dataset are held out. Scores without a scale cannot be confirmed.
    """
    promising = [
        score for one in comparisons for score in one.scores if one.pair.has_scale(score.score) and _is_promising(score)
    ]
    if not promising or (await ws.gateway.datasets.get(request.dataset)).holdout is None:
        return []
    best = max(promising, key=lambda score: (score.verdict == "better", score.delta or 0.0))
    run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": best.run, "baseline": baseline}
    why = "See which difference the held-out items can show; with that as min_delta, it runs both over them."
    return [NextStep("confirm_run", {**run, "score_name": best.score}, why)]


def _is_promising(score: ScoreComparison) -> bool:
    if score.verdict != "inconclusive" or score.candidate == 1:
        return score.verdict == "better"
    return score.p is not None and score.p < ALPHA and (score.delta or 0.0) > 0


def _score_steps(request: CompareRequest, comparisons: Sequence[_RunComparison]) -> list[NextStep]:
    """Propose to score a run with the judge of a score that it lacks, or that another judge gave it."""
    for one in comparisons:
        for compared in one.scores:
            if compared.verdict != "not comparable":
                continue
            baseline, run = (each.interpretations.get(compared.score) for each in (one.pair.baseline, one.pair.run))
            lacking, how = (one.pair.run, baseline) if run is None else (one.pair.baseline, run)
            judge = next((maker for maker in how.makers if isinstance(maker, JudgeMaker)), None) if how else None
            if judge is not None and judge.version is not None and judge.against is None:
                arguments: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": lacking.name}
                arguments["judges"] = [f"{judge.prompt}:{judge.version}"]
                return [NextStep("score_run", arguments, f"Score {lacking.name!r} with the judge that it lacks.")]
    return []
