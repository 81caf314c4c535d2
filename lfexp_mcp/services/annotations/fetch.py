"""What humans think of runs and traces: their comments, the themes of these, and how judges agree with their scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from lfexp_mcp.answers.annotations import AnnotatedComment, AnnotationComments, CommentTheme, Quote
from lfexp_mcp.model import BackendKind, NextStep, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation, interpret_human_scores
from lfexp_mcp.services.annotations.comments import (
    comments_of_scores,
    link_to_items,
    link_to_run,
    newest_first,
    read_annotations,
    read_comments,
    unknown_traces,
)
from lfexp_mcp.services.annotations.judge_agreement import describe_agreement, rater_pairs
from lfexp_mcp.services.annotations.scope import Scope, resolve_scope
from lfexp_mcp.services.answer_size import AnswerSize, fit, truncate_text
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.requests import CommentsRequest
from lfexp_mcp.services.runs.scored_run import configured_scales, interpret_run
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.themes import Theme, count_named, find_themes

MAX_NAMES = 20
"""Existing names listed if one was asked for that does not exist."""
MAX_DIFFERING = 5
"""Items listed per judge and human that differ."""
SCORE_DELAY = timedelta(seconds=15)
"""Time until Langfuse shows a new score: 3 to 10 s were seen."""
MAX_QUOTES = 3
MAX_QUOTE_CHARS = 160


async def fetch_annotation_comments(ws: Workspace, request: CommentsRequest) -> AnnotationComments:
    """Fetch human comments with their themes.

    Raises:
        NotFoundError: There is no such dataset, run or queue.
        UsageError: The cursor is invalid.
    """
    start = read_cursor(request.cursor)
    scope = await resolve_scope(ws, request)
    scores = await read_annotations(ws, scope)
    others = await read_comments(ws, scope) if request.score_name is None else []
    comments = newest_first([*comments_of_scores(scores), *others])
    check_cursor(start, len(comments), "comments")
    warnings = [*scope.warnings, *_may_be_more(ws.gateway.backend.kind, comments, scores, datetime.now(UTC))]
    if not comments and not scores:
        warnings += await _why_nothing(ws, request, scope)
    scales = await configured_scales(ws, scores)
    humans = interpret_human_scores(scores, scales)
    record = scope.record
    if record is not None:
        comments = link_to_run(comments, record)
    page = await link_to_items(ws, comments[start : start + request.limit])
    themes = describe_themes(comments, request.themes or {}, scores, humans)
    pairs = rater_pairs(interpret_run(record, scales), humans) if record else []

    def build(size: AnswerSize) -> AnnotationComments:
        shown = page[: size.rows]
        end = start + len(shown)
        return AnnotationComments(
            backend=str(ws.gateway.backend),
            scope=scope.description,
            total=len(comments),
            comments=[
                one.model_copy(update={"untrusted_text": size.truncate_text(one.untrusted_text)}) for one in shown
            ],
            next_cursor=write_cursor(end) if end < len(comments) else None,
            themes=themes,
            agreement=[describe_agreement(pair, min(size.rows, MAX_DIFFERING)) for pair in pairs],
            warnings=warnings,
            next=_next_steps(request, comments, end),
        )

    return fit(build, request.limit, "summary")


async def _why_nothing(ws: Workspace, request: CommentsRequest, scope: Scope) -> list[str]:
    """Say which score name or traces of the request do not exist."""
    found = []
    if request.score_name is not None:
        names = sorted({score.name for score in await read_annotations(ws, replace(scope, score_name=None))})
        known = f"there are {', '.join(map(repr, names[:MAX_NAMES]))}" if names else "there are none"
        found.append(f"No human score is named {request.score_name!r} here: {known}.")
    if request.trace_ids is not None and (unknown := await unknown_traces(ws, request.trace_ids)):
        listed = ", ".join(map(repr, unknown[:MAX_NAMES]))
        found.append(f"Langfuse has no trace {listed}; the items of a run state their `trace_id`.")
    return found


def _may_be_more(
    kind: BackendKind, comments: Sequence[AnnotatedComment], scores: Sequence[Score], now: datetime
) -> list[str]:
    """Warn that scores may be missing while people are scoring, since Langfuse shows them with a delay."""
    times = [one.created for one in comments] + [score.timestamp for score in scores]
    newest = max((time for time in times if time is not None), default=None)
    if newest is None or now - newest > SCORE_DELAY or kind == "embedded":
        return []
    age, delay = max((now - newest).total_seconds(), 0), SCORE_DELAY.total_seconds()
    warning = (
        f"The newest of these was given {age:.0f} s ago, and Langfuse shows human scores up to {delay:.0f} s late: "
        "there may be more. Fetch again in a moment."
    )
    return [warning]


def _next_steps(request: CommentsRequest, comments: Sequence[AnnotatedComment], end: int) -> list[NextStep]:
    given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    steps = []
    if not comments and (request.score_name or request.trace_ids):
        broader = {name: value for name, value in given.items() if name not in ("score_name", "trace_ids")}
        steps.append(NextStep("fetch_annotation_comments", broader, "Read the comments on all scores and traces."))
    if end < len(comments):
        further = {**given, "cursor": write_cursor(end)}
        steps.append(NextStep("fetch_annotation_comments", further, "Read further comments."))
    if request.dataset is not None and request.run_name is not None:
        run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": request.run_name}
        item_id = next((one.item_id for one in comments if one.item_id), None)
        if item_id is not None:
            steps.append(NextStep("get_run", {**run, "item_id": item_id}, "Read the item of the newest comment."))
        why = "Compare the themes with the failing items."
        steps.append(NextStep("analyze_run", {**run, "show_failures": True}, why))
    return steps


def describe_themes(
    comments: Sequence[AnnotatedComment],
    named: Mapping[str, Sequence[str]],
    scores: Sequence[Score],
    humans: Mapping[str, ScoreInterpretation],
) -> list[CommentTheme]:
    """Describe the themes of comments, those that the caller named first.

    Args:
        comments: All comments in scope.
        named: Words to count, by the name of their theme.
        scores: The human scores in scope.
        humans: How these are read, by name.
    """
    texts = [comment.untrusted_text for comment in comments]
    values = _values(comments, scores, humans)
    return [_theme(theme, comments, values) for theme in (*count_named(texts, named), *find_themes(texts))]


def _values(
    comments: Sequence[AnnotatedComment], scores: Sequence[Score], humans: Mapping[str, ScoreInterpretation]
) -> list[float | None]:
    """The human score on 0-1 that goes with each comment: its own, else the mean of its trace's."""
    own: dict[str, float | None] = {}
    by_trace: dict[str, list[float]] = {}
    for score in scores:
        interpretation = humans.get(score.name)
        own[score.id] = value = interpretation.canonical(score) if interpretation is not None else None
        if value is not None and score.trace_id:
            by_trace.setdefault(score.trace_id, []).append(value)
    return [own.get(one.id) if one.kind == "score" else _mean(by_trace.get(one.trace_id or "", [])) for one in comments]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _theme(theme: Theme, comments: Sequence[AnnotatedComment], values: Sequence[float | None]) -> CommentTheme:
    counted = set(theme.comments)
    chosen = [comments[index] for index in theme.comments]
    return CommentTheme(
        name=theme.name,
        terms=list(theme.terms),
        comments=len(chosen),
        mean_score=_mean([value for index in theme.comments if (value := values[index]) is not None]),
        mean_score_others=_mean(
            [value for index, value in enumerate(values) if index not in counted and value is not None]
        ),
        quotes=[
            Quote(comment_id=one.id, untrusted_text=truncate_text(one.untrusted_text, MAX_QUOTE_CHARS))
            for one in chosen[:MAX_QUOTES]
        ],
    )
