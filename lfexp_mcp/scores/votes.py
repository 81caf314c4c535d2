"""Items on which a judge, asked several times, disagreed with itself."""

from dataclasses import dataclass

from lfexp_mcp.model import RunRecord


@dataclass(frozen=True, slots=True)
class SelfDisagreement:
    """The votes of one judge on one item."""

    item_id: str
    name: str
    """Of the score."""
    votes: tuple[float | bool | str, ...]
    """As the judge gave them, on its own scale."""
    spread: float
    """Greatest less least on the canonical 0-1; of labels, the share of votes outvoted."""


def judge_disagreements(record: RunRecord, *, least: float = 0.2) -> list[SelfDisagreement]:
    """List the items on which a judge disagrees with itself, most first.

    Args:
        record: The run; votes stand in the metadata of scores that were asked for several times.
        least: The spread from which on votes count as disagreeing.
    """
    found = [
        SelfDisagreement(item.item_id, score.name, votes, spread)
        for item in record.items
        for score in item.scores
        if (spread := _number(score.metadata.get("spread"))) is not None and spread >= least
        for votes in [_votes(score.metadata.get("votes"))]
    ]
    return sorted(found, key=lambda each: (-each.spread, each.item_id, each.name))


def _number(value: object) -> float | None:
    """A number of a score's metadata, which Langfuse gives back as text."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _votes(value: object) -> tuple[float | bool | str, ...]:
    return tuple(vote for vote in value if isinstance(vote, int | float | str)) if isinstance(value, list) else ()
