"""Comparing runs of a dataset item by item, and gating on the outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE
from lfexp_mcp.answers.comparison import (
    ChangeKind,
    ChangeList,
    ComparabilityIssue,
    Comparison,
    Contrast,
    Gate,
    RunMetrics,
    ScoreComparison,
    ScoreVerdict,
)
from lfexp_mcp.errors import NotFoundError
from lfexp_mcp.model import UNIT, NextStep
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.scores.summary import summarise_scores
from lfexp_mcp.scores.warnings import run_warnings
from lfexp_mcp.services.answer_size import AnswerSize, Detail, fit
from lfexp_mcp.services.comparison.changes import (
    Changes,
    ShownItems,
    error_changes,
    find_page,
    items_to_show,
    score_changes,
    show_changes,
)
from lfexp_mcp.services.comparison.comparability import findings, shared_items
from lfexp_mcp.services.comparison.coverage import ended_coverage, ended_pair_coverage, pair_coverage, score_coverage
from lfexp_mcp.services.comparison.figures import contrasts, error_rate_delta, run_figures
from lfexp_mcp.services.comparison.gates import ERROR_RATE, Condition, RunMeasures, check_gate, parse_condition
from lfexp_mcp.services.comparison.score_comparison import compare_scores
from lfexp_mcp.services.runs.read_run import read_run, with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun, configured_scales, interpret_run
from lfexp_mcp.services.runs.task_usage import TaskUsage, read_task_usage
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import DEFAULT_MIN_DELTA
from lfexp_mcp.statistics.significance import ALPHA

LOSSES: frozenset[ChangeKind] = frozenset({"worse", "newly erroring"})
"""Changes that a reader looks at before all others."""
LINES_A_ROW = 5
"""Score comparisons shown for each entry that a list of changes may have."""


class CompareRequest(BaseModel):
    """What to compare, and what to conclude from."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(min_length=1)
    runs: list[str] = Field(min_length=2, description="Names of two or more runs, none twice.")
    baseline: str | None = Field(default=None, description="One of the runs; the first when not given.")
    score_name: str | None = Field(default=None, description="Only this score.")
    primary_score: str | None = Field(default=None, description="The score that decides, not adjusted for the others.")
    min_delta: float | None = Field(default=None, gt=0, le=1, description="Smallest difference worth seeing, 0-1.")
    fail_if: list[str] | None = Field(default=None, description="Conditions that fail the gate.")
    limit: int = Field(default=10, ge=1, le=100, description="Items per list of changes.")
    cursor: str | None = Field(default=None, description="Where to go on in one list of changes.")
    detail: Detail = "summary"

    @model_validator(mode="after")
    def _names_fit_together(self) -> "CompareRequest":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("runs: a run is named twice; name two different runs")
        if self.baseline is not None and self.baseline not in self.runs:
            raise ValueError(f"baseline: {self.baseline!r} is none of the runs to compare")
        if None not in (self.primary_score, self.score_name) and self.primary_score != self.score_name:
            raise ValueError(f"score_name: only {self.score_name!r} is compared, without the primary score")
        return self


@dataclass(frozen=True, slots=True)
class _Compared:
    """One run held against the baseline."""

    run: ScoredRun
    findings: list[ComparabilityIssue]
    item_ids: Sequence[str]
    """The items that both have with the same content."""
    scores: list[ScoreComparison]
    contrasts: list[Contrast]
    changes: list[Changes]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """All that was compared, before it is cut to an answer's size."""

    names: list[str]
    """The baseline's first."""
    figures: list[RunMetrics]
    compared: list[_Compared]
    changes: list[Changes]
    """All lists, or the one that is read on."""
    start: int
    """Where they are shown from."""
    shown: ShownItems
    gate: Gate | None
    warnings: list[str]


async def compare_runs(ws: Workspace, request: CompareRequest) -> Comparison:
    """Compare runs item by item.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: A condition of the gate cannot be read, or names a score that no run has.
    """
    conditions = [parse_condition(expression) for expression in request.fail_if or []]
    names = [request.baseline or request.runs[0]]
    names += [name for name in request.runs if name != names[0]]
    records = [await read_run(ws, request.dataset, name) for name in names]
    scales = await configured_scales(ws, (score for record in records for score in record.scores))
    values = [interpret_run(record, scales) for record in records]
    known = sorted({score for one in values for score in one.interpretations})
    read = [await read_task_usage(ws, record) for record in records]
    usages = [one.items for one in read]
    asked = _scores_asked(request, known)
    compared = await anyio.to_thread.run_sync(_compare_all, values, usages, asked, request)
    figures = await _figures(ws, values, usages)
    changes, start = [listed for one in compared for listed in one.changes if listed.changes], 0
    if request.cursor is not None:
        listed, start = find_page(changes, request.cursor)
        changes = [listed]
    gathered = _Gathered(
        names=names,
        figures=figures,
        compared=compared,
        changes=changes,
        start=start,
        shown=await _shown(ws, changes, start, request.limit),
        gate=_gate(conditions, compared, figures, values[0], _nameable(values)),
        warnings=[
            f"{one.name}: {text}"
            for one, usage in zip(values, read, strict=True)
            for text in (*run_warnings(one.record, one.interpretations), *usage.warnings)
        ],
    )
    return fit(lambda size: _answer(ws, request, gathered, size), request.limit, request.detail)


def _nameable(values: Sequence[ScoredRun]) -> list[str]:
    """The names that a condition may have: of scores that there are, that failed everywhere, or that were planned."""
    names = {score for one in values for score in one.interpretations}
    names |= {missing.name for one in values for item in one.record.items for missing in item.unscored}
    return sorted(names | {score for one in values if one.record.plan for score in one.record.plan.scores})


def _scores_asked(request: CompareRequest, known: Sequence[str]) -> Sequence[str]:
    for named in (request.score_name, request.primary_score):
        if named is not None and named not in known:
            run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": request.runs[-1]}
            see = NextStep("analyze_run", run, "See the scores of a run.")
            raise NotFoundError.of("score in these runs", named, known, next=[see])
    return known if request.score_name is None else [request.score_name]


def _answer(ws: Workspace, request: CompareRequest, gathered: _Gathered, size: AnswerSize) -> Comparison:
    lines = [line for one in gathered.compared for line in one.scores]
    found = [finding for one in gathered.compared for finding in one.findings]
    # Each comparison brings two lists of changes: with little room, fewer comparisons tell more.
    most = len(lines) + len(found) if request.detail == "full" else LINES_A_ROW * size.rows
    warnings = list(gathered.warnings)
    if len(lines) > most:
        warnings.append(f"{most} of {len(lines)} comparisons are shown: name a score_name, or ask for detail='full'.")
    shown = {(line.run, line.score) for line in lines[:most]}
    changes = [
        show_changes(listed, gathered.start, gathered.shown, size)
        for listed in gathered.changes
        if request.cursor is not None or listed.score is None or (listed.run.name, listed.score) in shown
    ]
    return Comparison(
        backend=ws.gateway.backend,
        dataset=request.dataset,
        baseline=gathered.names[0],
        runs=gathered.figures,
        scores=lines[:most],
        contrasts=[contrast for one in gathered.compared for contrast in one.contrasts],
        comparability=found[:most],
        changes=changes,
        gate=gathered.gate,
        pass_mark=PASS_MARK,
        min_delta=request.min_delta or DEFAULT_MIN_DELTA,
        warnings=warnings,
        notice=UNTRUSTED_NOTICE,
        next=_next_steps(request, gathered.names[-1], changes),
    )


def _compare_all(
    values: Sequence[ScoredRun], usages: Sequence[dict[str, TaskUsage]], scores: Sequence[str], request: CompareRequest
) -> list[_Compared]:
    baseline = values[0]
    shared = [shared_items(baseline, run) for run in values[1:]]
    found = [findings(baseline, run, common) for run, common in zip(values[1:], shared, strict=True)]
    lines = compare_scores(baseline, values[1:], shared, found, scores, request.min_delta, request.primary_score)
    compared = []
    for index, run in enumerate(values[1:]):
        comparable = [line.score for line in lines[index] if line.verdict != "not comparable"]
        item_ids = shared[index].item_ids
        compared.append(
            _Compared(
                run=run,
                findings=found[index],
                item_ids=item_ids,
                scores=lines[index],
                contrasts=contrasts(baseline.record, run.record, usages[0], usages[index + 1]),
                changes=[
                    *(listed for score in comparable for listed in score_changes(baseline, run, score, item_ids)),
                    *error_changes(baseline, run, item_ids),
                ],
            )
        )
    return compared


async def _figures(
    ws: Workspace, values: Sequence[ScoredRun], usages: Sequence[dict[str, TaskUsage]]
) -> list[RunMetrics]:
    figures = []
    for index, one in enumerate(values):
        summaries = summarise_scores(one.record, one.interpretations)
        url = await ws.gateway.experiment_url(one.record.experiment_ids[0])
        figures.append(run_figures(one, summaries, usages[index], url, baseline=index == 0))
    return figures


def _gate(
    conditions: Sequence[Condition],
    compared: Sequence[_Compared],
    figures: Sequence[RunMetrics],
    baseline: ScoredRun,
    known: Sequence[str],
) -> Gate | None:
    if not conditions:
        return None
    by_run = {one.run: one for one in figures}
    return check_gate(conditions, [_measures(one, by_run[one.run.name], baseline) for one in compared], known)


def _measures(compared: _Compared, mine: RunMetrics, baseline: ScoredRun) -> RunMeasures:
    run, item_ids = compared.run, compared.item_ids
    values = {score: mean for score, mean in mine.means.items() if run.has_scale(score)}
    unusable = {score: f"{reading.problem}." for score, reading in run.interpretations.items() if reading.problem}
    unusable |= {
        score: "it has no single maker, and so no mean." for score, one in run.interpretations.items() if one.mixed
    }
    deltas = {line.score: line.delta for line in compared.scores if line.delta is not None}
    coverage = {score: score_coverage(run, score) for score in values}
    pairs = {line.score: pair_coverage(baseline, run, line.score, item_ids) for line in compared.scores}
    if mine.error_rate is not None:
        values.setdefault(ERROR_RATE, mine.error_rate)
        coverage.setdefault(ERROR_RATE, ended_coverage(run))
    failing = error_rate_delta(baseline.record, run.record)
    if failing is not None:
        deltas.setdefault(ERROR_RATE, failing)
        pairs.setdefault(ERROR_RATE, ended_pair_coverage(baseline, run))
    together = [line for line in compared.scores if _has_direction(line.score, baseline, run)]
    scales = {score: reading.scale for score, reading in run.interpretations.items() if reading.scale is not None}
    return RunMeasures(
        run=run.name,
        status=run.record.status,
        baseline_status=baseline.record.status,
        values=values,
        scales={ERROR_RATE: UNIT, **scales},
        deltas=deltas,
        verdicts={line.score: _tested(line, line.p_adjusted) for line in together},
        verdicts_alone={line.score: _tested(line, line.p) for line in compared.scores},
        unusable=unusable,
        coverage=coverage,
        pairs=pairs,
        unfair={line.score: line.reason for line in compared.scores if line.verdict == "not comparable"},
    )


def _tested(line: ScoreComparison, p: float | None) -> ScoreVerdict:
    """What a gate goes by: the test alone, as rare large gains that may be unseen are no reason to pass a loss."""
    return "worse" if p is not None and p < ALPHA and line.delta is not None and line.delta < 0 else line.verdict


def _has_direction(score: str, *runs: ScoredRun) -> bool:
    """Whether one can say of a score what is better: not of labels, text, and numbers in a unit of their own."""
    interpretations = [run.interpretations[score] for run in runs if score in run.interpretations]
    return any(reading.scale is not None or (reading.problem and not reading.own_unit) for reading in interpretations)


async def _shown(ws: Workspace, changes: Sequence[Changes], start: int, limit: int) -> ShownItems:
    """Read the judges' reasons of the items that will be shown, and no others."""
    commented = {
        key: {item.item_id: item for item in await with_comments(ws, list(results.values()))}
        for key, results in items_to_show(changes, start, limit).items()
    }
    traces = {item.trace_id for results in commented.values() for item in results.values() if item.trace_id}
    return ShownItems(commented, {trace: await ws.gateway.trace_url(trace) for trace in sorted(traces)})


def _next_steps(request: CompareRequest, last: str, changes: Sequence[ChangeList]) -> list[NextStep]:
    steps = [
        NextStep(
            tool="analyze_run",
            arguments={"dataset": request.dataset, "run_name": last, "show_failures": True},
            why="See what fails in it, and which kinds of items do worse.",
        )
    ]
    changed = min(
        (listed for listed in changes if listed.items), key=lambda listed: listed.kind not in LOSSES, default=None
    )
    if changed is not None:
        item_id = changed.items[0].item_id
        steps.append(
            NextStep(
                tool="get_run",
                arguments={"dataset": request.dataset, "run_name": changed.run, "item_id": item_id},
                why="Read an item that changed, whole.",
            )
        )
    longer = min(
        (listed for listed in changes if listed.next_cursor is not None),
        key=lambda listed: listed.kind not in LOSSES,
        default=None,
    )
    if longer is not None:
        given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"fail_if"})
        steps.append(
            NextStep(
                tool="compare_runs",
                arguments={**given, "cursor": longer.next_cursor},
                why=f"List more of the items {longer.kind}; each list has its own next_cursor.",
            )
        )
    return steps
