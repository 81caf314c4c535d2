"""Explaining one run: how its scores are spread, what fails, and what the failures have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from lfexp_mcp.answers.analysis import (
    Analysis,
    DisagreementItem,
    ExtremeItem,
    FailureList,
    ScoreCorrelation,
    ScoreDistribution,
    SliceResult,
    SplitVote,
)
from lfexp_mcp.answers.base import UNTRUSTED_NOTICE
from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.model import NextStep, RunRecord
from lfexp_mcp.scores.limits import PASS_MARK, Limit, parse_limit
from lfexp_mcp.scores.votes import judge_disagreements
from lfexp_mcp.services.analysis.distributions import correlate_scores, describe_distribution
from lfexp_mcp.services.analysis.failures import Failure, find_failures, read_page, show_failure
from lfexp_mcp.services.analysis.outputs import group_errors, group_outputs
from lfexp_mcp.services.analysis.slices import slice_run
from lfexp_mcp.services.annotations.judge_agreement import RatedItem, RaterPair, rater_pairs
from lfexp_mcp.services.answer_size import AnswerSize, Detail, fit
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.runs.get_run import describe_recorded, repeat_of
from lfexp_mcp.services.runs.read_run import read_run, with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun, configured_scales, interpret_run
from lfexp_mcp.services.runs.task_usage import RunTaskUsage, TaskUsage, read_task_usage
from lfexp_mcp.services.workspace import Workspace

OF_THE_RUN = {
    "backend",
    "dataset",
    "run_name",
    "status",
    "experiment_url",
    "total_items",
    "repeats",
    "succeeded",
    "failed",
    "pending",
}
"""What an analysis says of its run as every answer on one does."""
FEW = 3
"""Failing items shown when they were not asked for."""
EXTREMES = 5
SCORES_A_ROW = 3
"""Scores whose spread is shown for each entry that a list may have."""


class AnalyzeRequest(BaseModel):
    """What to explain."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(min_length=1)
    run_name: str = Field(min_length=1)
    show_failures: bool = Field(default=False, description="List the failing items, not only the lowest few.")
    score_name: str | None = Field(default=None, description="Only this score.")
    score_threshold: float | str | None = Field(
        default=None,
        description=f"An item fails that scores worse: on 0-1, a percentage, or `4/5` on the scale of `score_name`. "
        f"Default {PASS_MARK}.",
    )
    limit: int = Field(default=10, ge=1, le=100, description="Entries per list.")
    cursor: str | None = None
    detail: Detail = "summary"

    @field_validator("score_threshold")
    @classmethod
    def _is_a_limit(cls, given: float | str | None) -> float | str | None:
        if given is not None and parse_limit(str(given)).value < 0:
            raise ValueError(f"{given} lies below every score; write 0.8, 80%, or 4/5 on a score's own scale")
        return given

    @model_validator(mode="after")
    def _names_the_score_of_its_scale(self) -> "AnalyzeRequest":
        if self.score_name is None and not self.limit_of_scores.is_canonical:
            raise ValueError(
                f"score_threshold: {self.score_threshold} is on one score's own scale: name its score_name"
            )
        return self

    @property
    def limit_of_scores(self) -> Limit:
        """The threshold."""
        return Limit(PASS_MARK) if self.score_threshold is None else parse_limit(str(self.score_threshold))


@dataclass(frozen=True, slots=True)
class _Findings:
    """All that was found, before it is cut to an answer's size."""

    described: RunAnswer
    values: ScoredRun
    scores: list[ScoreDistribution]
    failures: list[Failure]
    start: int
    """Where the page of failures begins."""
    page: list[Failure]
    slices: list[SliceResult]
    correlations: list[ScoreCorrelation]
    usage: RunTaskUsage
    disagreements: list[tuple[RaterPair, RatedItem]]


async def analyze_run(ws: Workspace, request: AnalyzeRequest) -> Analysis:
    """Explain a run.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: The cursor is none of the failures' list, or the threshold is on another scale than the score.
    """
    start = read_cursor(request.cursor)
    record = await read_run(ws, request.dataset, request.run_name)
    found = await _find(ws, request, record, start)
    return fit(lambda size: _answer(found, request, size), request.limit, request.detail)


async def _find(ws: Workspace, request: AnalyzeRequest, record: RunRecord, start: int) -> _Findings:
    scales = await configured_scales(ws, record.scores)
    values = interpret_run(record, scales)
    scores = _scores_asked(values, request.score_name)
    described = await describe_recorded(ws, record, scales)
    comparable = [score for score in scores if values.interpretations[score].is_comparable]
    threshold = _threshold(request, values)
    failures = find_failures(values, scores, threshold)
    check_cursor(start, len(failures), "failing results")
    rows = request.limit if request.show_failures or request.cursor else min(FEW, request.limit)
    if request.cursor is not None:
        page = await read_page(ws, failures[start : start + rows])
        return _Findings(described, values, [], failures, start, page, [], [], RunTaskUsage({}), [])
    pairs = [pair for pair in rater_pairs(values, values.humans) if pair.judge in scores]
    return _Findings(
        described=described,
        values=values,
        scores=[
            describe_distribution(summary, values, threshold) for summary in described.scores if summary.name in scores
        ],
        failures=failures,
        start=start,
        page=await read_page(ws, failures[start : start + rows]),
        slices=await anyio.to_thread.run_sync(slice_run, values, comparable),
        correlations=await anyio.to_thread.run_sync(correlate_scores, values, comparable),
        usage=await read_task_usage(ws, record),
        disagreements=await _disagreements(ws, pairs, request.limit),
    )


def _threshold(request: AnalyzeRequest, values: ScoredRun) -> float:
    """The threshold on 0-1.

    Raises:
        UsageError: It is on another scale than the score.
    """
    limit = request.limit_of_scores
    reading = values.interpretations.get(request.score_name or "")
    if limit.is_canonical or reading is None:
        return limit.value
    if reading.scale is None:
        raise UsageError(f"score_threshold {limit}: the values of {request.score_name!r} are on no known scale.")
    try:
        return limit.canonical(reading.scale)
    except ValueError as error:
        raise UsageError(f"score_threshold {limit}: {error}.") from None


def _answer(found: _Findings, request: AnalyzeRequest, size: AnswerSize) -> Analysis:
    described, record = found.described, found.values.record
    shown = found.page[: size.rows]
    end = found.start + len(shown)
    if request.cursor is not None:
        return _further_page(found, shown, end, request, size)
    splits = judge_disagreements(record)
    most = len(found.scores) if request.detail == "full" else SCORES_A_ROW * size.rows
    warnings = [*described.warnings, *found.usage.warnings]
    if len(found.scores) > most:
        warnings.append(f"{most} of {len(found.scores)} scores are shown: name a score_name, or ask for detail='full'.")
    return Analysis(
        backend=described.backend,
        dataset=described.dataset,
        run_name=described.run_name,
        status=described.status,
        experiment_url=described.experiment_url,
        total_items=described.total_items,
        repeats=described.repeats,
        succeeded=described.succeeded,
        failed=described.failed,
        pending=described.pending,
        scores=found.scores[:most],
        failures=_failure_list(found, shown, end, size),
        errors=group_errors(record.items, size)[: size.rows],
        slices=_slices_shown(found.slices, size.rows, request.detail),
        slices_tested=len(found.slices),
        correlations=found.correlations[: size.rows],
        outputs=group_outputs(record.items, size),
        slowest=_slowest(record)[: size.rows],
        most_expensive=_dearest(record, found.usage.items)[: size.rows],
        disagreements=[_disagreement(record, pair, rated, size) for pair, rated in found.disagreements[: size.rows]],
        split_votes=[
            SplitVote(item_id=split.item_id, score=split.name, votes=list(split.votes), spread=split.spread)
            for split in splits[: size.rows]
        ],
        split_votes_total=len(splits),
        warnings=warnings,
        notice=UNTRUSTED_NOTICE,
        next=_next_steps(request, found, end),
    )


def _failure_list(found: _Findings, shown: Sequence[Failure], end: int, size: AnswerSize) -> FailureList:
    return FailureList(
        total=len(found.failures),
        items=[show_failure(failure, found.values, size) for failure in shown],
        next_cursor=write_cursor(end) if end < len(found.failures) else None,
    )


def _further_page(
    found: _Findings, shown: Sequence[Failure], end: int, request: AnalyzeRequest, size: AnswerSize
) -> Analysis:
    """A later page of the failing items: what the first answer said of the run is not said again."""
    described = found.described
    return Analysis(
        **described.model_dump(include=OF_THE_RUN),
        scores=[],
        failures=_failure_list(found, shown, end, size),
        errors=[],
        slices=[],
        slices_tested=0,
        correlations=[],
        outputs=[],
        slowest=[],
        most_expensive=[],
        disagreements=[],
        split_votes=[],
        split_votes_total=0,
        warnings=[],
        notice=f"A later page of the failing items; all else is in the answer without a cursor. {UNTRUSTED_NOTICE}",
        next=_next_steps(request, found, end),
    )


def _scores_asked(values: ScoredRun, score_name: str | None) -> list[str]:
    names = sorted(
        {*values.interpretations, *(missing.name for item in values.record.items for missing in item.unscored)}
    )
    if score_name is None:
        return names
    if score_name not in names:
        raise NotFoundError.of(
            f"score in run {values.name!r}",
            score_name,
            names,
            next=[
                NextStep("analyze_run", {"dataset": values.record.dataset, "run_name": values.name}, "See all scores.")
            ],
        )
    return [score_name]


def _slices_shown(slices: Sequence[SliceResult], rows: int, detail: Detail) -> list[SliceResult]:
    """Those worth a look: shown to differ, and the lowest of the others."""
    if detail == "full":
        return list(slices)
    telling = [
        one for one in slices if one.verdict.endswith("than the rest") or (one.p_adjusted is not None and one.delta < 0)
    ]
    return telling[:rows]


def _slowest(record: RunRecord) -> list[ExtremeItem]:
    timed = sorted((item for item in record.items if item.seconds is not None), key=lambda item: -(item.seconds or 0.0))
    return [
        ExtremeItem(
            item_id=item.item_id,
            trace_id=item.trace_id,
            seconds=item.seconds,
            repeat=repeat_of(record, item),
        )
        for item in timed[:EXTREMES]
    ]


def _dearest(record: RunRecord, usage: Mapping[str, TaskUsage]) -> list[ExtremeItem]:
    """The items whose model calls cost most, or used most tokens where no price is known."""
    traces = {item.item_id: item.trace_id for item in record.items}
    ordered = sorted(usage.items(), key=lambda entry: (-(entry[1].cost or 0.0), -entry[1].tokens, entry[0]))
    return [
        ExtremeItem(item_id=item_id, trace_id=traces.get(item_id), tokens=round(used.tokens), cost_usd=used.cost)
        for item_id, used in ordered[:EXTREMES]
    ]


async def _disagreements(ws: Workspace, pairs: Sequence[RaterPair], rows: int) -> list[tuple[RaterPair, RatedItem]]:
    """The items on which judge and human differ, the furthest apart first, with the words of both."""
    differing = [(pair, rated) for pair in pairs for rated in pair.items if rated.differs]
    differing.sort(key=lambda entry: (-entry[1].distance, entry[1].item.item_id))
    shown = differing[:rows]
    items = await with_comments(ws, [rated.item for _, rated in shown])
    comments = {score.id: score for item in items for score in item.scores}
    return [
        (
            pair,
            replace(
                rated,
                judge_score=comments.get(rated.judge_score.id, rated.judge_score),
                human_score=comments.get(rated.human_score.id, rated.human_score),
            ),
        )
        for pair, rated in shown
    ]


def _disagreement(record: RunRecord, pair: RaterPair, rated: RatedItem, size: AnswerSize) -> DisagreementItem:
    return DisagreementItem(
        item_id=rated.item.item_id,
        judge=pair.judge,
        judge_value=rated.judge_value,
        human=pair.human,
        human_value=rated.human_value,
        untrusted_judge_reason=size.truncate_optional(rated.judge_score.comment),
        untrusted_human_comment=size.truncate_optional(rated.human_score.comment),
        trace_id=rated.item.trace_id,
        repeat=repeat_of(record, rated.item),
    )


def _next_steps(request: AnalyzeRequest, found: _Findings, end: int) -> list[NextStep]:
    failures = found.failures
    run = {"dataset": request.dataset, "run_name": request.run_name}
    steps = []
    if end < len(failures):
        given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"cursor"})
        arguments: dict[str, JsonValue] = {**given, "show_failures": True, "cursor": write_cursor(end)}
        steps.append(NextStep(tool="analyze_run", arguments=arguments, why="List the further failing items."))
    if failures:
        lowest: dict[str, JsonValue] = {**run, "item_id": failures[0].item.item_id}
        steps.append(NextStep(tool="get_run", arguments=lowest, why="Read the lowest item whole."))
    why = "Read what humans wrote before digging into single items."
    if found.disagreements:
        why = "Humans and judges differ: read what the humans wrote."
    steps.append(NextStep(tool="fetch_annotation_comments", arguments={**run}, why=why))
    return steps
