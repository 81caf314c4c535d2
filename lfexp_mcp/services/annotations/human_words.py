"""Gathering what humans wrote: comments of annotation scores, and comments on traces, observations and sessions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import JsonValue

from lfexp_mcp.answers.annotations import CommentSource
from lfexp_mcp.gateway import Comment, Observation
from lfexp_mcp.model import RunRecord, Score
from lfexp_mcp.services.workspace import Workspace

LOOKED_UP = 50
"""Observations or traces looked up with one request."""


@dataclass(frozen=True, slots=True)
class HumanWords:
    """One comment, with what it belongs to."""

    id: str
    kind: CommentSource
    text: str
    author: str | None
    created: datetime | None
    score: Score | None = None
    trace_id: str | None = None
    observation_id: str | None = None
    session_id: str | None = None
    queue_id: str | None = None
    run_name: str | None = None
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which comments are meant; None stands for no condition."""

    traces: frozenset[str] | None = None
    annotated: tuple[str, ...] | None = None
    """Of `traces`, those known to have annotation scores; None when that is not known."""
    objects: frozenset[str] | None = None
    """Traces, observations and sessions of an annotation queue."""
    score_name: str | None = None
    queue_id: str | None = None
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, created: datetime | None) -> bool:
        """Whether a time lies within the scope."""
        if created is None:
            return self.since is None and self.until is None
        return (self.since is None or created >= self.since) and (self.until is None or created < self.until)


async def read_annotations(ws: Workspace, scope: Scope) -> list[Score]:
    """Read the annotation scores in scope, with or without a comment."""
    asked = scope.annotated if scope.annotated is not None else tuple(sorted(scope.traces or ())) or None
    if scope.traces is not None and not asked:
        return []
    scores = await ws.gateway.scores.find(
        trace_ids=asked,
        name=scope.score_name if scope.score_name and "," not in scope.score_name else None,
        source="ANNOTATION",
        queue_id=scope.queue_id,
        author=scope.author,
        since=scope.since,
        until=scope.until,
    )
    return [score for score in scores if scope.score_name in (None, score.name)]


async def unknown_traces(ws: Workspace, traces: Iterable[str]) -> list[str]:
    """Find those of some traces that Langfuse has not."""
    asked = sorted(traces)
    known = {root.trace_id for root in await _observations_where(ws, "traceId", asked, roots=True)}
    return [trace for trace in asked if trace not in known]


def words_of_scores(scores: Iterable[Score]) -> list[HumanWords]:
    """Take the comments of scores."""
    return [
        HumanWords(
            id=score.id,
            kind="score",
            text=score.comment,
            author=score.author,
            created=score.timestamp,
            score=score,
            trace_id=score.trace_id,
            observation_id=score.observation_id,
            session_id=score.session_id,
            queue_id=score.queue_id,
        )
        for score in scores
        if score.comment
    ]


async def read_comments(ws: Workspace, scope: Scope) -> list[HumanWords]:
    """Read the comments on traces, observations and sessions in scope.

    Langfuse lists them by one object or all together, so all are read and those out of scope left out.
    """
    comments = [
        comment
        for comment in await ws.gateway.comments(author=scope.author)
        if comment.object_type != "PROMPT" and scope.holds(comment.created)
    ]
    if scope.objects is not None:
        comments = [comment for comment in comments if comment.object_id in scope.objects]
    of_observations = await _traces_of_observations(ws, comments)
    words = [_words(comment, of_observations) for comment in comments]
    if scope.traces is None:
        return words
    sessions = await _sessions(ws, scope.traces) if any(one.kind == "session" for one in words) else set()
    return [one for one in words if one.trace_id in scope.traces or (one.session_id and one.session_id in sessions)]


def _words(comment: Comment, of_observations: dict[str, str]) -> HumanWords:
    one = HumanWords(
        id=comment.id,
        kind="trace",
        text=comment.content,
        author=comment.author,
        created=comment.created,
    )
    match comment.object_type:
        case "OBSERVATION":
            trace_id = of_observations.get(comment.object_id)
            return replace(one, kind="observation", observation_id=comment.object_id, trace_id=trace_id)
        case "SESSION":
            return replace(one, kind="session", session_id=comment.object_id)
        case _:
            return replace(one, trace_id=comment.object_id)


async def _traces_of_observations(ws: Workspace, comments: Sequence[Comment]) -> dict[str, str]:
    ids = sorted({comment.object_id for comment in comments if comment.object_type == "OBSERVATION"})
    return {found.id: found.trace_id for found in await _observations_where(ws, "id", ids)}


async def _sessions(ws: Workspace, traces: Iterable[str]) -> set[str]:
    found = await _observations_where(ws, "traceId", sorted(traces), roots=True)
    return {observation.session_id for observation in found if observation.session_id}


def link_to_run(words: Iterable[HumanWords], record: RunRecord) -> list[HumanWords]:
    """Say which items of a run the comments belong to; an item that was not begun has no trace yet."""
    items = {item.trace_id: item.item_id for item in record.items if item.trace_id is not None}
    return [
        replace(one, run_name=record.run_name, item_id=items[one.trace_id]) if one.trace_id in items else one
        for one in words
    ]


async def link_to_items(ws: Workspace, words: Sequence[HumanWords]) -> list[HumanWords]:
    """Say which run and dataset item the comments belong to, as far as the roots of their traces tell."""
    traces = sorted({one.trace_id for one in words if one.trace_id and one.item_id is None})
    roots = {root.trace_id: root for root in await _observations_where(ws, "traceId", traces, roots=True)}
    return [_linked(one, roots.get(one.trace_id or "")) for one in words]


def _linked(words: HumanWords, root: Observation | None) -> HumanWords:
    if words.item_id is not None or root is None:
        return words
    run_name, item_id = root.metadata.get("experiment_run_name"), root.metadata.get("dataset_item_id")
    return replace(
        words,
        run_name=run_name if isinstance(run_name, str) else None,
        item_id=item_id if isinstance(item_id, str) else None,
    )


async def _observations_where(
    ws: Workspace, column: str, values: Sequence[str], *, roots: bool = False
) -> list[Observation]:
    """Look observations up by one column's values, some at a time."""
    found: list[Observation] = []
    only_roots: list[dict[str, JsonValue]] = [
        {"type": "boolean", "column": "isRootObservation", "operator": "=", "value": True}
    ]
    for start in range(0, len(values), LOOKED_UP):
        condition: dict[str, JsonValue] = {
            "type": "stringOptions",
            "column": column,
            "operator": "any of",
            "value": [*values[start : start + LOOKED_UP]],
        }
        found += await ws.gateway.observations.find(filter=[condition, *(only_roots if roots else [])])
    return found


def newest_first(words: Iterable[HumanWords]) -> list[HumanWords]:
    """Sort comments by time, the newest first."""
    beginning = datetime.min.replace(tzinfo=UTC)
    return sorted(words, key=lambda one: (one.created or beginning, one.id), reverse=True)
