"""Items worth a look: those that fail, the slowest, the most expensive, and those on which raters disagree."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import DisagreementItem, ExtremeItem, SplitVote
from lfexp_mcp.answers.run import ItemAnswer
from lfexp_mcp.model import ItemResult, RunRecord
from lfexp_mcp.scores.limits import is_below
from lfexp_mcp.services.annotations.judge_agreement import RatedItem, rater_pairs
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.runs.get_run import item_answer, repeat_of
from lfexp_mcp.services.runs.observations import TaskUsage
from lfexp_mcp.services.runs.read_run import with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

MAX_METADATA_CHARS = 60
MAX_METADATA_KEYS = 10
MAX_EXTREMES = 5
MIN_SPLIT_SPREAD = 0.2
"""Spread of a judge's votes, on 0-1, that counts as a disagreement with itself."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A result with scores below the threshold."""

    item: ItemResult
    scores: tuple[tuple[float, str], ...]
    """Canonical value and name, lowest first."""


def find_failures(values: ScoredRun, scores: Sequence[str], threshold: float) -> list[Failure]:
    """Find the results with a score below the threshold, the lowest first.

    Args:
        scores: The scores to check; those without a scale never fail.
        threshold: On 0-1.
    """
    failures = [Failure(item, low) for item in values.record.items if (low := _low(values, item, scores, threshold))]
    return sorted(failures, key=lambda failure: (failure.scores[0][0], failure.item.item_id, failure.item.repeat))


def _low(values: ScoredRun, item: ItemResult, scores: Sequence[str], threshold: float) -> tuple[tuple[float, str], ...]:
    found = [(values.value_of(item, name), name) for name in scores if values.has_scale(name)]
    return tuple(sorted((value, name) for value, name in found if value is not None and is_below(value, threshold)))


async def read_page(ws: Workspace, failures: Sequence[Failure]) -> list[Failure]:
    """Add the judges' reasons to failures."""
    items = await with_comments(ws, [failure.item for failure in failures])
    return [replace(failure, item=item) for item, failure in zip(items, failures, strict=True)]


def show_failure(failure: Failure, values: ScoredRun, size: AnswerSize) -> ItemAnswer:
    """Show one failing result at a given size."""
    item = failure.item
    shown = item_answer(item, values, size)
    brief = AnswerSize(min(size.text_chars, MAX_METADATA_CHARS), size.rows)
    failed = {name for _, name in failure.scores}
    for score, shown_score in zip(item.scores, shown.scores, strict=False):
        shown_score.failed = score.name in failed and values.interpretations[score.name].counts(score)
    shown.metadata = {
        key: brief.truncate_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in list(item.metadata.items())[:MAX_METADATA_KEYS]
    } or None
    # get_run tells it with the item.
    shown.trace_id = None
    return shown


def slowest_items(record: RunRecord) -> list[ExtremeItem]:
    """List the slowest results of a run."""
    timed = ((seconds, item) for item in record.items if (seconds := item.seconds) is not None)
    return [
        ExtremeItem(item_id=item.item_id, seconds=seconds, repeat=repeat_of(record, item))
        for seconds, item in nlargest(MAX_EXTREMES, timed, key=lambda each: each[0])
    ]


def most_expensive_items(usage: Mapping[str, TaskUsage]) -> list[ExtremeItem]:
    """List the items with the most expensive model calls, or with the most tokens if prices are unknown."""
    ordered = sorted(usage.items(), key=lambda entry: (-(entry[1].cost or 0.0), -entry[1].tokens, entry[0]))
    return [
        ExtremeItem(item_id=item_id, tokens=round(used.tokens), cost_usd=used.cost)
        for item_id, used in ordered[:MAX_EXTREMES]
    ]


async def read_disagreements(ws: Workspace, values: ScoredRun, scores: Collection[str], limit: int) -> list[RatedItem]:
    """Read the items on which judge and human differ most, with the comments of both."""
    pairs = [pair for pair in rater_pairs(values, values.humans) if pair[0].judge_score.name in scores]
    differing = [rated for pair in pairs for rated in pair if rated.differs]
    found = sorted(differing, key=lambda rated: (-rated.distance, rated.item.item_id))[:limit]
    items = await with_comments(ws, [rated.item for rated in found])
    commented = {score.id: score for item in items for score in item.scores}
    return [
        replace(
            rated,
            judge_score=commented.get(rated.judge_score.id, rated.judge_score),
            human_score=commented.get(rated.human_score.id, rated.human_score),
        )
        for rated in found
    ]


def show_disagreement(record: RunRecord, rated: RatedItem, size: AnswerSize) -> DisagreementItem:
    """Show a disagreement at a given size."""
    return DisagreementItem(
        item_id=rated.item.item_id,
        judge=rated.judge_score.name,
        judge_value=rated.judge_value,
        human=rated.human_score.name,
        human_value=rated.human_value,
        untrusted_judge_reason=size.truncate_optional(rated.judge_score.comment),
        untrusted_human_comment=size.truncate_optional(rated.human_score.comment),
        repeat=repeat_of(record, rated.item),
    )


def split_votes(record: RunRecord) -> list[SplitVote]:
    """List the items on which a judge that was asked several times disagreed with itself, largest spread first."""
    found = [
        SplitVote(item_id=item.item_id, score=score.name, votes=_votes(score.metadata.get("votes")), spread=spread)
        for item in record.items
        for score in item.bare_scores
        if (spread := _number(score.metadata.get("spread"))) is not None and spread >= MIN_SPLIT_SPREAD
    ]
    return sorted(found, key=lambda split: (-split.spread, split.item_id, split.score))


def _number(value: JsonValue) -> float | None:
    """Read a number in a score's metadata, which Langfuse returns as text."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _votes(value: JsonValue) -> list[float | bool | str]:
    return [vote for vote in value if isinstance(vote, int | float | str)] if isinstance(value, list) else []
