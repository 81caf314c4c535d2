"""What many comments mention, with the scores that humans gave alongside."""

import math
from collections.abc import Mapping, Sequence

from lfexp_mcp.answers.annotations import AnnotatedComment, CommentTheme, Quote
from lfexp_mcp.model import Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.answer_size import truncate_text
from lfexp_mcp.themes import Theme, count_named, find_themes

MAX_QUOTES = 3
MAX_QUOTE_CHARS = 160


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
