"""What humans think: their comments, what these have in common, and how judges agree with human scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lfexp_mcp.answers.annotations import (
    AnnotatedComment,
    AnnotationComments,
    CommentTheme,
    JudgeAgreement,
    Quote,
    ThemeKind,
)
from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, BackendKind
from lfexp_mcp.errors import NotFoundError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import NextStep, RunRecord, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation, interpret_human_scores
from lfexp_mcp.services.annotations.human_words import (
    HumanWords,
    Scope,
    link_to_items,
    link_to_run,
    newest_first,
    read_annotations,
    read_comments,
    unknown_traces,
    words_of_scores,
)
from lfexp_mcp.services.annotations.judge_agreement import RaterPair, describe_agreement, rater_pairs
from lfexp_mcp.services.answer_size import AnswerSize, fit
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.scored_run import configured_scales, interpret_run
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.themes import Theme, count_named, find_themes

QUOTES = 3
QUOTE_LENGTH = 160
COUNTED_IDS = 20
"""Comment ids listed per theme."""
NAMES = 20
"""Names listed where one was asked for that does not exist."""
VISIBLE_AFTER = timedelta(seconds=15)
"""Within which Langfuse shows a score: 3 to 10 s were seen."""
RUNS_OF_DATASET = 20
"""Newest runs whose traces are searched when only a dataset is named."""


class CommentsRequest(BaseModel):
    """Whose words to fetch, and about what."""

    model_config = ConfigDict(extra="forbid")

    score_name: str | None = None
    dataset: str | None = None
    run_name: str | None = None
    trace_ids: list[str] | None = Field(default=None, min_length=1)
    queue: str | None = Field(default=None, description="Annotation queue, by name or id.")
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None
    themes: dict[str, list[str]] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "CommentsRequest":
        if self.run_name is not None and self.dataset is None:
            raise ValueError("run_name: name the dataset of the run too")
        empty = next((name for name, terms in (self.themes or {}).items() if not any(map(str.strip, terms))), None)
        if empty is not None:
            raise ValueError(f"themes: theme {empty!r} has no words; give some, such as ['rude', 'curt']")
        return self


@dataclass(frozen=True, slots=True)
class _Asked:
    """The scope of a request, and the run it is about, if it is about one."""

    scope: Scope
    text: str
    record: RunRecord | None = None
    warnings: tuple[str, ...] = ()


async def fetch_annotation_comments(ws: Workspace, request: CommentsRequest) -> AnnotationComments:
    """Fetch human comments with their themes.

    Raises:
        NotFoundError: There is no such dataset, run or queue.
        UsageError: The cursor is none of this list.
    """
    start = read_cursor(request.cursor)
    asked = await _resolve(ws, request)
    scores = await read_annotations(ws, asked.scope)
    comments = await read_comments(ws, asked.scope) if request.score_name is None else []
    words = newest_first([*words_of_scores(scores), *comments])
    check_cursor(start, len(words), "comments")
    nothing = () if words or scores else await _why_nothing(ws, request, asked.scope)
    recent = _may_be_more(ws.gateway.backend.kind, words, scores, datetime.now(UTC))
    scales = await configured_scales(ws, scores)
    humans = interpret_human_scores(scores, scales)
    if asked.record is not None:
        words = link_to_run(words, asked.record)
    page = await link_to_items(ws, words[start : start + request.limit])
    urls = {one.trace_id: await ws.gateway.trace_url(one.trace_id) for one in page if one.trace_id}
    themes = _themes(words, request, _values(words, scores, humans))
    pairs = rater_pairs(interpret_run(asked.record, scales), humans) if asked.record else []

    def build(size: AnswerSize) -> AnnotationComments:
        shown = page[: size.rows]
        end = start + len(shown)
        return AnnotationComments(
            backend=ws.gateway.backend,
            scope=asked.text,
            total=len(words),
            comments=[_comment(one, urls.get(one.trace_id or ""), size) for one in shown],
            next_cursor=write_cursor(end) if end < len(words) else None,
            themes=themes,
            agreement=_agreement(pairs, asked.record, size),
            notice=UNTRUSTED_NOTICE,
            warnings=[*asked.warnings, *nothing, *recent],
            next=_next_steps(request, words, end),
        )

    return fit(build, request.limit, "summary")


async def _why_nothing(ws: Workspace, request: CommentsRequest, scope: Scope) -> tuple[str, ...]:
    """Say what was asked for that does not exist: a score's name, or traces."""
    found = []
    if request.score_name is not None:
        others = await read_annotations(ws, replace(scope, score_name=None))
        names = sorted({score.name for score in others})
        known = f"there are {', '.join(map(repr, names[:NAMES]))}" if names else "humans gave none"
        found.append(f"No score that a human gave is named {request.score_name!r} here: {known}.")
    if request.trace_ids is not None:
        unknown = await unknown_traces(ws, request.trace_ids)
        listed = ", ".join(map(repr, unknown[:NAMES]))
        found += [f"Langfuse has no trace {listed}; the items of a run state their `trace_id`."] if unknown else []
    return tuple(found)


def _may_be_more(
    kind: BackendKind, words: Sequence[HumanWords], scores: Sequence[Score], now: datetime
) -> tuple[str, ...]:
    """Say that scores may be missing while people are at it: Langfuse shows them some seconds after they are given."""
    given = [one.created for one in words] + [score.timestamp for score in scores]
    newest = max((moment for moment in given if moment is not None), default=None)
    if newest is None or now - newest > VISIBLE_AFTER or kind == "embedded":
        return ()
    age, late = max((now - newest).total_seconds(), 0), VISIBLE_AFTER.total_seconds()
    said = f"The newest of these was given {age:.0f} s ago, and Langfuse shows human scores up to {late:.0f} s late"
    return (f"{said}: there may be more. Fetch again in a moment.",)


async def _resolve(ws: Workspace, request: CommentsRequest) -> _Asked:
    """Turn what was asked for into the traces and objects it means."""
    scope = Scope(
        traces=frozenset(request.trace_ids) if request.trace_ids else None,
        score_name=request.score_name,
        author=request.author,
        since=_aware(request.since),
        until=_aware(request.until),
    )
    named = [f"score {request.score_name!r}"] if request.score_name else []
    named += [f"{len(request.trace_ids)} traces"] if request.trace_ids else []
    named += [f"author {request.author!r}"] if request.author else []
    named += [f"from {scope.since:%Y-%m-%d %H:%M} UTC"] if scope.since else []
    named += [f"until {scope.until:%Y-%m-%d %H:%M} UTC"] if scope.until else []
    if request.queue is not None:
        scope, named = await _of_queue(ws, request.queue, scope), [*named, f"queue {request.queue!r}"]
    if request.dataset is None:
        return _Asked(scope, ", ".join(named) or "all comments of the project")
    if request.run_name is not None:
        record = await read_run(ws, request.dataset, request.run_name)
        text = ", ".join([f"run {request.run_name!r} of dataset {request.dataset!r}", *named])
        return _Asked(_of_record(record, scope), text, record)
    dataset = await ws.gateway.datasets.get(request.dataset)
    text = ", ".join([f"runs of dataset {request.dataset!r}", *named])
    scope, warnings = await _of_dataset(ws, dataset, scope)
    return _Asked(scope, text, None, warnings)


def _aware(moment: datetime | None) -> datetime | None:
    """A time without a zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


async def _of_queue(ws: Workspace, name: str, scope: Scope) -> Scope:
    queues = await ws.gateway.annotation_queues()
    found = next((queue for queue in queues if name in (queue.name, queue.id)), None)
    if found is None:
        known = [queue.name for queue in queues]
        raise NotFoundError.of("annotation queue", name, known, "Pass a queue's name or id, or leave queue out.")
    objects = frozenset(item.object_id for item in await ws.gateway.queue_items(found.id))
    return replace(scope, queue_id=found.id, objects=objects)


def _of_record(record: RunRecord, scope: Scope) -> Scope:
    traces = _within({item.trace_id for item in record.items if item.trace_id}, scope)
    annotated = tuple(
        item.trace_id
        for item in record.items
        if item.trace_id in traces and any(score.source == "ANNOTATION" for score in item.scores)
    )
    return replace(scope, traces=traces, annotated=tuple(trace for trace in annotated if trace))


def _within(traces: set[str], scope: Scope) -> frozenset[str]:
    return frozenset(traces) if scope.traces is None else scope.traces & traces


async def _of_dataset(ws: Workspace, dataset: Dataset, scope: Scope) -> tuple[Scope, tuple[str, ...]]:
    experiments, more = await ws.gateway.experiments.page(dataset.id, limit=RUNS_OF_DATASET)
    items = [item for experiment in experiments for item in await ws.gateway.experiments.results(experiment.id)]
    annotated = {item.trace_id for item in items if any(score.source == "ANNOTATION" for score in item.scores)}
    traces = _within({item.trace_id for item in items if item.trace_id}, scope)
    warnings = (f"Only the newest {RUNS_OF_DATASET} runs were searched; name a run for older ones.",) if more else ()
    return replace(scope, traces=traces, annotated=tuple(sorted(traces & annotated))), warnings


def _values(
    words: Sequence[HumanWords], scores: Sequence[Score], humans: Mapping[str, ScoreInterpretation]
) -> list[float | None]:
    """The human score that goes with each comment, on 0-1: its own, else the mean of its trace's."""
    by_trace: dict[str, list[float]] = {}
    for score in scores:
        value = _canonical(score, humans)
        if value is not None and score.trace_id:
            by_trace.setdefault(score.trace_id, []).append(value)
    return [
        _canonical(one.score, humans) if one.score is not None else _mean(by_trace.get(one.trace_id or "", []))
        for one in words
    ]


def _canonical(score: Score, humans: Mapping[str, ScoreInterpretation]) -> float | None:
    reading = humans.get(score.name)
    return reading.canonical(score) if reading is not None else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _themes(
    words: Sequence[HumanWords], request: CommentsRequest, values: Sequence[float | None]
) -> list[CommentTheme]:
    texts = [one.text for one in words]
    named = [_theme(theme, "named", words, values) for theme in count_named(texts, request.themes or {})]
    return [*named, *(_theme(theme, "found", words, values) for theme in find_themes(texts))]


def _theme(theme: Theme, kind: ThemeKind, words: Sequence[HumanWords], values: Sequence[float | None]) -> CommentTheme:
    counted = set(theme.comments)
    inside = [value for place in theme.comments if (value := values[place]) is not None]
    outside = [value for place, value in enumerate(values) if place not in counted and value is not None]
    chosen = [words[place] for place in theme.comments]
    return CommentTheme(
        name=theme.name,
        kind=kind,
        terms=list(theme.terms),
        comments=len(chosen),
        of=len(words),
        summary=f"{len(chosen)} of {len(words)} comments",
        share=len(chosen) / len(words) if words else 0.0,
        mean_score=_mean(inside),
        mean_score_others=_mean(outside),
        quotes=[Quote(comment_id=one.id, untrusted_text=_excerpt(one.text)) for one in chosen[:QUOTES]],
        comment_ids=[one.id for one in chosen[:COUNTED_IDS]],
    )


def _excerpt(text: str) -> str:
    return AnswerSize(QUOTE_LENGTH, 1).truncate_text(text)


def _comment(one: HumanWords, url: str | None, size: AnswerSize) -> AnnotatedComment:
    return AnnotatedComment(
        id=one.id,
        kind=one.kind,
        untrusted_text=size.truncate_text(one.text),
        author=one.author,
        created=one.created,
        score_name=one.score.name if one.score else None,
        value=one.score.value if one.score else None,
        run_name=one.run_name,
        item_id=one.item_id,
        trace_id=one.trace_id,
        observation_id=one.observation_id,
        session_id=one.session_id,
        queue_id=one.queue_id,
        trace_url=url,
    )


def _agreement(pairs: Sequence[RaterPair], record: RunRecord | None, size: AnswerSize) -> list[JudgeAgreement]:
    if record is None:
        return []
    return [describe_agreement(pair, record.run_name, min(size.rows, 5)) for pair in pairs]


def _next_steps(request: CommentsRequest, words: Sequence[HumanWords], end: int) -> list[NextStep]:
    steps = []
    if not words and (request.score_name or request.trace_ids):
        given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        arguments = {name: value for name, value in given.items() if name not in ("score_name", "trace_ids")}
        why = "Read the comments on all scores and traces."
        steps.append(NextStep(tool="fetch_annotation_comments", arguments=arguments, why=why))
    if end < len(words):
        given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        arguments = {**given, "cursor": write_cursor(end)}
        steps.append(NextStep(tool="fetch_annotation_comments", arguments=arguments, why="Read the further comments."))
    if request.dataset is not None and request.run_name is not None:
        run = {"dataset": request.dataset, "run_name": request.run_name}
        linked = next((one.item_id for one in words if one.item_id), None)
        if linked is not None:
            item = {**run, "item_id": linked}
            steps.append(NextStep(tool="get_run", arguments={**item}, why="Read the item that was commented on last."))
        why = "Set the themes beside the failing items."
        steps.append(NextStep(tool="analyze_run", arguments={**run, "show_failures": True}, why=why))
    return steps
