"""Reading human comments: those of annotation scores, and those on traces, observations and sessions."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import JsonValue

from lfexp_mcp.answers.annotations import AnnotatedComment
from lfexp_mcp.gateway import Comment, Observation
from lfexp_mcp.gateway.observations import ROOTS_ONLY
from lfexp_mcp.model import RunRecord, Score
from lfexp_mcp.services.annotations.scope import Scope
from lfexp_mcp.services.workspace import Workspace

BATCH = 50
"""Observations or traces looked up per request."""
T = TypeVar("T", Score, AnnotatedComment)


async def read_annotations(ws: Workspace, scope: Scope) -> list[Score]:
    """Read the annotation scores in scope, with or without a comment."""
    trace_ids = scope.annotated if scope.annotated is not None else tuple(sorted(scope.traces or ())) or None
    if scope.traces is not None and not trace_ids:
        return []
    scores = await ws.gateway.scores.find(
        trace_ids=trace_ids,
        # Langfuse takes a comma for the end of a name.
        name=scope.score_name if scope.score_name and "," not in scope.score_name else None,
        source="ANNOTATION",
        queue_id=scope.queue_id,
        author=scope.author,
        since=scope.since,
        until=scope.until,
    )
    named = [score for score in scores if scope.score_name in (None, score.name)]
    return await _open(ws, named)


def comments_of_scores(scores: Iterable[Score]) -> list[AnnotatedComment]:
    """Return the comments of scores."""
    return [
        AnnotatedComment(
            id=score.id,
            kind="score",
            untrusted_text=score.comment,
            author=score.author,
            created=score.timestamp,
            score_name=score.name,
            value=score.value,
            trace_id=score.trace_id,
            observation_id=score.observation_id,
            session_id=score.session_id,
        )
        for score in scores
        if score.comment
    ]


async def read_comments(ws: Workspace, scope: Scope) -> list[AnnotatedComment]:
    """Read the comments on traces, observations and sessions in scope.

    Langfuse lists the comments on one object, or all of them; here all are read and filtered.
    """
    read = [
        comment
        for comment in await ws.gateway.comments(author=scope.author)
        if comment.object_type != "PROMPT"
        and scope.includes(comment.created)
        and (scope.objects is None or comment.object_id in scope.objects)
    ]
    observations = sorted({comment.object_id for comment in read if comment.object_type == "OBSERVATION"})
    traces = {found.id: found.trace_id for found in await _find_observations(ws, "id", observations)}
    comments = [_annotated(comment, traces) for comment in read]
    comments = await _open(ws, comments)
    if scope.traces is None:
        return comments
    sessions: set[str | None] = set()
    if any(comment.kind == "session" for comment in comments):
        # A comment on a session is about each of its traces.
        sessions = {root.session_id for root in await _find_roots(ws, scope.traces)} - {None, ""}
    return [one for one in comments if one.trace_id in scope.traces or one.session_id in sessions]


async def _open(ws: Workspace, given: Sequence[T]) -> list[T]:
    """Leave out what is on a trace of a held-out item, or on a session that has one.

    What is on neither a trace nor a session, such as a score of a whole run, may be about any item.
    """
    holdouts = await ws.gateway.datasets.project_holdouts() if given else None
    if holdouts is None:
        return list(given)
    roots = await _find_roots(ws, {one.trace_id for one in given if one.trace_id})
    traces = {root.trace_id for root in roots if not holdouts.holds(root)}
    sessions = set()
    for session in {one.session_id for one in given if one.session_id and not one.trace_id}:
        condition: dict[str, JsonValue] = {"type": "string", "column": "sessionId", "operator": "=", "value": session}
        found = await ws.gateway.observations.find(filter=[condition, ROOTS_ONLY])
        if found and not any(map(holdouts.holds, found)):
            sessions.add(session)
    return [one for one in given if (one.trace_id in traces if one.trace_id else one.session_id in sessions)]


def _annotated(comment: Comment, traces: dict[str, str]) -> AnnotatedComment:
    one = AnnotatedComment(
        id=comment.id,
        kind="trace",
        untrusted_text=comment.content,
        author=comment.author,
        created=comment.created,
    )
    match comment.object_type:
        case "OBSERVATION":
            one.kind, one.observation_id = "observation", comment.object_id
            one.trace_id = traces.get(comment.object_id)
        case "SESSION":
            one.kind, one.session_id = "session", comment.object_id
        case _:
            one.trace_id = comment.object_id
    return one


async def unknown_traces(ws: Workspace, trace_ids: Iterable[str]) -> list[str]:
    """Return the traces that do not exist in Langfuse, or are of held-out items."""
    asked = sorted(trace_ids)
    holdouts = await ws.gateway.datasets.project_holdouts()
    roots = await _find_roots(ws, asked)
    known = {root.trace_id for root in roots if holdouts is None or not holdouts.holds(root)}
    return [trace for trace in asked if trace not in known]


def link_to_run(comments: Iterable[AnnotatedComment], record: RunRecord) -> list[AnnotatedComment]:
    """Add the item of a run that each comment is on, as far as its trace is of the run."""
    items = {item.trace_id: item.item_id for item in record.items if item.trace_id is not None}
    return [
        one.model_copy(update={"run_name": record.run_name, "item_id": items[one.trace_id]})
        if one.trace_id in items
        else one
        for one in comments
    ]


async def link_to_items(ws: Workspace, comments: Sequence[AnnotatedComment]) -> list[AnnotatedComment]:
    """Add the run and dataset item that each comment is on, as far as the root of its trace states them."""
    traces = {one.trace_id for one in comments if one.trace_id and one.item_id is None}
    roots = {root.trace_id: root for root in await _find_roots(ws, traces)}
    return [_linked(one, roots.get(one.trace_id or "")) for one in comments]


def _linked(comment: AnnotatedComment, root: Observation | None) -> AnnotatedComment:
    if comment.item_id is not None or root is None:
        return comment
    names = {"run_name": root.metadata.get("experiment_run_name"), "item_id": root.metadata.get("dataset_item_id")}
    return comment.model_copy(update={field: name for field, name in names.items() if isinstance(name, str)})


def newest_first(comments: Iterable[AnnotatedComment]) -> list[AnnotatedComment]:
    """Sort comments by time, the newest first."""
    beginning = datetime.min.replace(tzinfo=UTC)
    return sorted(comments, key=lambda one: (one.created or beginning, one.id), reverse=True)


async def _find_roots(ws: Workspace, trace_ids: Iterable[str]) -> list[Observation]:
    return await _find_observations(ws, "traceId", sorted(trace_ids), ROOTS_ONLY)


async def _find_observations(
    ws: Workspace, column: str, values: Sequence[str], *conditions: dict[str, JsonValue]
) -> list[Observation]:
    """Find the observations with one of some values in a column."""
    found: list[Observation] = []
    for start in range(0, len(values), BATCH):
        condition: dict[str, JsonValue] = {
            "type": "stringOptions",
            "column": column,
            "operator": "any of",
            "value": [*values[start : start + BATCH]],
        }
        found += await ws.gateway.observations.find(filter=[condition, *conditions])
    return found
