"""Explaining one run: how its scores are distributed, what fails, and what the failures have in common."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.answers.analysis import Analysis, FailureList, SliceResult
from lfexp_mcp.answers.base import UNTRUSTED_NOTICE
from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.model import NextStep, RunRecord
from lfexp_mcp.scores.score_names import plain_name
from lfexp_mcp.services.analysis.distributions import (
    SHOWN_TO_DIFFER,
    correlate_scores,
    describe_distribution,
    slice_run,
)
from lfexp_mcp.services.analysis.failure_groups import Grouping, find_groups, show_groups
from lfexp_mcp.services.analysis.notable_items import (
    Failure,
    find_failures,
    most_expensive_items,
    read_disagreements,
    read_page,
    show_disagreement,
    show_failure,
    slowest_items,
    split_votes,
)
from lfexp_mcp.services.annotations.judge_agreement import RatedItem
from lfexp_mcp.services.answer_size import AnswerSize, fit
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.labels.correction import labels_of_runs
from lfexp_mcp.services.requests import AnalyzeRequest
from lfexp_mcp.services.runs.observations import read_task_usage
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.run_answer import describe_run
from lfexp_mcp.services.runs.run_summary import summarise_in_time
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

Args = TypeVarTuple("Args")
T = TypeVar("T")

RUN_FIELDS = {
    "backend",
    "dataset",
    "run_name",
    "status",
    "experiment_url",
    "part",
    "total_items",
    "repeats",
    "succeeded",
    "failed",
    "pending",
}
"""What an analysis repeats of the description of its run."""
DEFAULT_FAILURES = 3
"""Failing items shown without `show_failures`."""
MAX_FAILURES_READ = 1000
"""Failing results whose comments are read to be grouped: the lowest."""
ANALYSIS_TOKENS = 4_000
"""Budget of the structured part with up to ten rows per list, as `estimate_tokens` counts: 3,500 at four characters
each."""
TOKENS_PER_FURTHER_ROW = 100
MIN_TEXT_CHARS = 80
MAX_OTHER_SLICES = 3
"""Slices listed that are lower and not shown to be."""
DISTRIBUTIONS_PER_ROW = 3
"""Score distributions shown per entry that a list may have."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything found, before it is cut to an answer's size."""

    whole: Analysis
    """All that is the same at any size, and lists in full."""
    values: ScoredRun
    failures: list[Failure]
    start: int
    page: list[Failure]
    groups: list[Grouping] = field(default_factory=list)
    disagreements: list[RatedItem] = field(default_factory=list)


async def analyze_run(ws: Workspace, request: AnalyzeRequest) -> Analysis:
    """Explain a run.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: The cursor is invalid, or the threshold is on another scale than the score.
    """
    start = read_cursor(request.cursor)
    record = await read_run(ws, request.dataset, request.run_name)
    found = await _find(ws, request, record, start)

    def build(size: AnswerSize) -> Analysis:
        return _answer(found, request, size)

    if request.detail == "full":
        return fit(build, request.limit, "full")
    budget = ANALYSIS_TOKENS + TOKENS_PER_FURTHER_ROW * max(request.limit - 10, 0)
    return fit(build, request.limit, "summary", budget, MIN_TEXT_CHARS)


async def _find(ws: Workspace, request: AnalyzeRequest, record: RunRecord, start: int) -> _Found:
    summary = await summarise_in_time(ws, record, math.inf)
    values = ScoredRun(record, summary.interpretations, summary.humans)
    if request.score_name is not None:
        makers = {name: how.makers for name, how in values.interpretations.items()}
        request = request.model_copy(update={"score_name": plain_name(request.score_name, [makers])})
    scores = _scores_to_explain(values, request.score_name)
    described = await describe_run(ws, record, summary)
    threshold = _threshold(request, values)
    failures = await _compute(find_failures, values, scores, threshold)
    check_cursor(start, len(failures), "failing results")
    rows = request.limit if request.show_failures or request.cursor else min(DEFAULT_FAILURES, request.limit)
    listed = FailureList(total=len(failures))
    # What follows is the same at any size; `_answer` cuts it.
    whole = Analysis(**described.model_dump(include=RUN_FIELDS), threshold=threshold, failures=listed)
    if request.cursor is not None:
        whole.notice = f"A later page of failing items; the rest is in the answer without cursor. {UNTRUSTED_NOTICE}"
        return _Found(whole, values, failures, start, await read_page(ws, failures[start : start + rows]))
    commented = await read_page(ws, failures[:MAX_FAILURES_READ])
    # A score that every evaluator failed on has no values to interpret.
    comparable = [
        score for score in scores if score in values.interpretations and values.interpretations[score].is_comparable
    ]
    labels, unread = await labels_of_runs(ws, [values], scores)
    groups = await _compute(find_groups, values, scores, commented, failures[MAX_FAILURES_READ:])
    whole.scores = [
        await _compute(describe_distribution, summary, values, threshold, labels[0].get(summary.name))
        for summary in described.scores
        if summary.name in scores
    ]
    whole.slices = await _compute(slice_run, values, comparable)
    whole.slices_tested = len(whole.slices)
    whole.correlations = await _compute(correlate_scores, values, comparable)
    usage = await read_task_usage(ws, record)
    whole.most_expensive = most_expensive_items(usage.items)
    disagreements = await read_disagreements(ws, values, scores, request.limit)
    whole.slowest = await _compute(slowest_items, record)
    whole.split_votes = await _compute(split_votes, record)
    whole.split_votes_total = len(whole.split_votes)
    whole.warnings = [*described.warnings, *usage.warnings, *unread]
    return _Found(whole, values, failures, start, commented[:rows], groups, disagreements)


async def _compute(work: Callable[[*Args], T], *args: *Args) -> T:
    """Compute in a thread, which is not waited for when the call's time is over."""
    return await anyio.to_thread.run_sync(work, *args, abandon_on_cancel=True)


def _scores_to_explain(values: ScoredRun, score_name: str | None) -> list[str]:
    unscored = {missing.name for item in values.record.items for missing in item.unscored}
    names = sorted(values.interpretations.keys() | unscored)
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


def _threshold(request: AnalyzeRequest, values: ScoredRun) -> float:
    """Return the threshold on 0-1.

    Raises:
        UsageError: It is on another scale than the score.
    """
    limit = request.limit_of_scores
    interpretation = values.interpretations.get(request.score_name or "")
    if limit.is_canonical or interpretation is None:
        return limit.value
    if interpretation.scale is None:
        raise UsageError(f"score_threshold {limit}: the scale of {request.score_name!r} is unknown.")
    try:
        return limit.canonical(interpretation.scale)
    except ValueError as error:
        raise UsageError(f"score_threshold {limit}: {error}.") from None


def _answer(found: _Found, request: AnalyzeRequest, size: AnswerSize) -> Analysis:
    whole, record = found.whole, found.values.record
    page = found.page[: size.rows]
    end = found.start + len(page)
    answer = whole.model_copy(
        update={
            "failures": FailureList(
                total=len(found.failures),
                items=[show_failure(failure, found.values, size) for failure in page],
                next_cursor=write_cursor(end) if end < len(found.failures) else None,
            ),
            "next": _next_steps(request, found, end),
        }
    )
    if request.cursor is not None:
        return answer

    most = len(whole.scores) if request.detail == "full" else DISTRIBUTIONS_PER_ROW * size.rows
    warnings = list(whole.warnings)
    if len(whole.scores) > most:
        warnings.append(f"{most} of {len(whole.scores)} scores are shown: name a score_name, or ask for detail='full'.")
    if len(found.failures) > MAX_FAILURES_READ:
        warnings.append(f"Only the comments of the lowest {MAX_FAILURES_READ:,} failing results are grouped.")
    cut = ("correlations", "slowest", "most_expensive", "split_votes")
    return answer.model_copy(
        update={
            **{name: getattr(whole, name)[: size.rows] for name in cut},
            "scores": whole.scores[:most],
            "groups": show_groups(found.groups, record, size),
            "slices": whole.slices if request.detail == "full" else _notable(whole.slices)[: size.rows],
            "disagreements": [show_disagreement(record, one, size) for one in found.disagreements[: size.rows]],
            "warnings": warnings,
        }
    )


def _notable(slices: Sequence[SliceResult]) -> list[SliceResult]:
    """The slices shown to differ, and the lowest of the others."""
    others = [one for one in slices if one.verdict == "not shown to differ" and one.delta < 0][:MAX_OTHER_SLICES]
    return [one for one in slices if one.verdict in SHOWN_TO_DIFFER or one in others]


def _next_steps(request: AnalyzeRequest, found: _Found, end: int) -> list[NextStep]:
    run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": request.run_name}
    steps = []
    if end < len(found.failures):
        given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"cursor"})
        further = {**given, "show_failures": True, "cursor": write_cursor(end)}
        steps.append(NextStep("analyze_run", further, "List further failing items."))
    errored = next((item for item in found.values.record.items if item.status == "failed"), None)
    if found.failures:
        lowest = {**run, "item_id": found.failures[0].item.item_id}
        steps.append(NextStep("get_run", lowest, "Read the lowest item in full."))
    elif errored is not None:
        steps.append(
            NextStep("get_run", {**run, "item_id": errored.item_id}, "Read an item whose task failed in full.")
        )
    why = "Read what humans wrote before digging into single items."
    if found.disagreements:
        why = "Humans and judges differ: read what the humans wrote."
    return [*steps, NextStep("fetch_annotation_comments", run, why)]
