"""Items worth a look: the slowest, the most expensive, and those on which a judge disagrees with a human or itself."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from heapq import nlargest

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import DisagreementItem, ExtremeItem, SplitVote
from lfexp_mcp.model import RunRecord
from lfexp_mcp.services.annotations.judge_agreement import RatedItem, rater_pairs
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.runs.get_run import repeat_of
from lfexp_mcp.services.runs.observations import TaskUsage
from lfexp_mcp.services.runs.read_run import with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

MAX_EXTREMES = 5
MIN_SPLIT_SPREAD = 0.2
"""Spread of a judge's votes, on 0-1, that counts as a disagreement with itself."""


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
