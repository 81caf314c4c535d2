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
    Gate,
    RunMetrics,
    ScoreComparison,
)
from lfexp_mcp.errors import NotFoundError, StateError, UnreadError
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import JudgeMaker, NextStep, RunRecord
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.scores.score_names import name_alike, plain_name
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
from lfexp_mcp.services.comparison.correction import label_steps, with_correction
from lfexp_mcp.services.comparison.gate_input import gate_input
from lfexp_mcp.services.comparison.gates import check_gate
from lfexp_mcp.services.comparison.run_metrics import contrast_runs, describe_metrics
from lfexp_mcp.services.comparison.run_pair import RunPair, pair_runs
from lfexp_mcp.services.comparison.score_comparison import compare_scores
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
READ_AT_ONCE = 8
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


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything compared, before it is cut to an answer's size."""

    metrics: list[RunMetrics]
    """The baseline's first."""
    comparisons: list[_RunComparison]
    changes: list[ChangedItems]
    """All lists, or the one that the cursor continues."""
    start: int
    gate: Gate | None
    steps: list[NextStep]
    """Those that make a verdict surer: a confirmation, and labels by people."""
    warnings: list[str]


async def compare_runs(ws: Workspace, request: CompareRequest) -> Comparison:
    """Compare runs item by item.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: The cursor is invalid, or a condition of the gate is, or it names a score that no run has.
    """
    conditions = [parse_condition(expression) for expression in request.fail_if or []]
    baseline = request.baseline or request.runs[0]
    names = [baseline, *(name for name in request.runs if name != baseline)]
    recorded = await _read_runs(ws, request.dataset, names)
    records = await anyio.to_thread.run_sync(name_alike, recorded, abandon_on_cancel=True)
    summaries = [await summarise_in_time(ws, record, math.inf) for record in records]
    runs = [
        ScoredRun(record, summary.interpretations, summary.humans)
        for record, summary in zip(records, summaries, strict=True)
    ]
    request, conditions = _by_plain_names(request, conditions, runs)
    usages = [await read_task_usage(ws, record) for record in records]
    scores = _scores_to_compare(request, sorted({score for run in runs for score in run.interpretations}))
    by_item = [usage.items for usage in usages]
    candidates = await read_candidates(ws, records[0].dataset_id)
    for record in records:
        candidates = candidates.including(record)
    homes = await _read_homes(ws, request.dataset, candidates, runs)
    labels, unread = await labels_of_runs(ws, runs, scores)
    # Not waited for when the call's time is over, as all that computes on many results.
    comparisons = await anyio.to_thread.run_sync(
        _compare_all, runs, by_item, scores, request, candidates, homes, labels, abandon_on_cancel=True
    )
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
    found = _Found(metrics, comparisons, changes, start, gate, steps, [*unread, *warnings])
    return fit(lambda size: _answer(ws, request, found, size), request.limit, request.detail)


def _by_plain_names(
    request: CompareRequest, conditions: Sequence[Condition], runs: Sequence[ScoredRun]
) -> tuple[CompareRequest, list[Condition]]:
    """Take a name with the maker that has the plain name in these runs for that one."""
    makers = [{name: how.makers for name, how in run.interpretations.items()} for run in runs]
    given = {name: getattr(request, name) for name in ("score_name", "primary_score")}
    plain = {name: plain_name(value, makers) for name, value in given.items() if value is not None}
    named = [one if one.name is None else replace(one, name=plain_name(one.name, makers)) for one in conditions]
    return request.model_copy(update=plain), named


async def _read_runs(ws: Workspace, dataset: str, names: Sequence[str]) -> list[RunRecord]:
    """Read some runs at a time, so that one does not use up the time of the others."""
    read: dict[str, RunRecord] = {}
    unknown: dict[str, NotFoundError] = {}

    async def one(name: str) -> None:
        try:
            read[name] = await read_recorded_run(ws, dataset, name)
        except NotFoundError as error:
            unknown[name] = error

    await for_each(names, one, min(len(names), READ_AT_ONCE))
    for name in names:
        if name in unknown:
            raise unknown[name]
    return [read[name] for name in names]


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


def _compare_all(
    runs: Sequence[ScoredRun],
    usages: Sequence[dict[str, TaskUsage]],
    scores: Sequence[str],
    request: CompareRequest,
    candidates: Candidates,
    homes: dict[str, ScoredRun],
    labels: Sequence[dict[str, Labels]],
) -> list[_RunComparison]:
    pairs = [pair_runs(runs[0], run) for run in runs[1:]]
    issues = [find_issues(pair) for pair in pairs]
    by_judge = compare_scores(pairs, issues, scores, request.min_delta, request.primary_score, candidates, homes)
    compared = [
        [with_correction(one, pair, found, labels[0], of_run) for one in of_pair]
        for of_pair, pair, found, of_run in zip(by_judge, pairs, issues, labels[1:], strict=True)
    ]
    return [
        _RunComparison(
            pair=pair,
            issues=issues[index],
            scores=compared[index],
            contrasts=contrast_runs(runs[0].record, pair.run.record, usages[0], usages[index + 1]),
            changes=[
                *(
                    listed
                    for one in compared[index]
                    if one.verdict != "not comparable"
                    for listed in score_changes(pair, one.score)
                ),
                *error_changes(pair),
            ],
        )
        for index, pair in enumerate(pairs)
    ]


def _answer(ws: Workspace, request: CompareRequest, found: _Found, size: AnswerSize) -> Comparison:
    scores = [score for one in found.comparisons for score in one.scores]
    issues = [issue for one in found.comparisons for issue in one.issues]
    # Each comparison brings two lists of changes, so with little room fewer comparisons show more.
    most = len(scores) + len(issues) if request.detail == "full" else COMPARISONS_PER_ROW * size.rows
    warnings = list(found.warnings)
    if len(scores) > most:
        warnings.append(f"{most} of {len(scores)} comparisons are shown: name a score_name, or ask for detail='full'.")
    shown = {(score.run, score.score) for score in scores[:most]}
    changes = [
        show_changes(listed, found.start, size)
        for listed in found.changes
        if request.cursor is not None or listed.score is None or (listed.pair.run.name, listed.score) in shown
    ]
    return Comparison(
        backend=str(ws.gateway.backend),
        dataset=request.dataset,
        baseline=found.metrics[0].run,
        runs=found.metrics,
        scores=scores[:most],
        contrasts=[contrast for one in found.comparisons for contrast in one.contrasts],
        comparability=issues[:most],
        changes=changes,
        gate=found.gate,
        pass_mark=PASS_MARK,
        min_delta=request.min_delta or DEFAULT_MIN_DELTA,
        warnings=warnings,
        next=[
            *found.steps,
            *_next_steps(request, found.metrics[-1].run, changes),
            *_score_steps(request, found.comparisons),
        ],
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
    """Propose to confirm the run that is better by most, or might be if so many had not been tried before it.

    There is none to propose if no items of the dataset are held out.
    """
    promising = [score for one in comparisons for score in one.scores if _is_promising(score)]
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
    """Propose to score a run with the judge of a score that it lacks, or has by another judge only."""
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
