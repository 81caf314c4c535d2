"""What a judge made of one item: its votes, and the score that they come to."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.judges.reply import ReadReply
from lfexp_mcp.model import Evaluation, ModelUsage, ResolvedJudge, ScoreDataType


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge's score of one item."""

    value: float | bool | str
    """Canonical 0-1 for a scale of numbers, the mean of the votes; else the bool or label that most votes were
    for."""
    data_type: ScoreDataType
    raw: float | None
    """The mean on the judge's own scale; None for labels."""
    comment: str | None
    """The judge's reason; with several votes, each with its own."""
    votes: tuple[float | bool | str, ...]
    """What was said, on the judge's own scale; fewer than asked for where some could not be had."""
    spread: float
    """How far the votes lie apart: greatest less least on the canonical scale; of labels, the share outvoted."""
    usage: ModelUsage

    def evaluated(self, judge: ResolvedJudge) -> Evaluation:
        """The score in the form that evaluators' scores have.

        Its metadata says that the judge saw what it judged fenced off as data, as earlier versions did not.
        """
        metadata: dict[str, JsonValue] = {
            "fenced": True,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "seconds": round(self.usage.seconds, 3),
        }
        if self.raw is not None:
            metadata["raw"] = self.raw
        if judge.samples > 1:
            metadata |= {"samples": len(self.votes), "votes": list(self.votes), "spread": round(self.spread, 6)}
        return Evaluation(judge.score_name, self.value, self.data_type, self.comment, metadata)


def count_votes(judge: ResolvedJudge, votes: Sequence[ReadReply], usage: ModelUsage) -> Judged:
    """Bring the votes on one item together.

    Args:
        judge: The judge.
        votes: What it said, at least one.
        usage: What asking used.
    """
    comment = _comment(votes)
    said = tuple(vote.value for vote in votes)
    if judge.scale.kind != "NUMERIC":
        value, count = Counter(said).most_common(1)[0]
        return Judged(value, judge.scale.kind, None, comment, said, 1 - count / len(said), usage)
    raws = [float(value) for value in said]
    values = [judge.scale.normalise(raw) for raw in raws]
    return Judged(
        value=math.fsum(values) / len(values),
        data_type="NUMERIC",
        raw=math.fsum(raws) / len(raws),
        comment=comment,
        votes=said,
        spread=max(values) - min(values),
        usage=usage,
    )


def _comment(votes: Sequence[ReadReply]) -> str | None:
    if len(votes) == 1:
        return votes[0].reason
    reasons = [f"[{_shown(vote.value)}] {vote.reason}" for vote in votes if vote.reason]
    return "\n".join(reasons) or None


def _shown(value: float | bool | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
