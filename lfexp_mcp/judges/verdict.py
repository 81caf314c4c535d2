"""The verdict of a judge on one item, from one or several votes."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.judges.reply import JudgeReply
from lfexp_mcp.model import Evaluation, ModelUsage, ResolvedJudge, ScoreDataType


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's score of one item, and its reason."""

    value: float | bool | str
    """On a numeric scale the mean of the votes, canonical 0-1; else the bool or label that most votes were for."""
    data_type: ScoreDataType
    raw: float | None
    """The mean on the judge's own scale; None for labels."""
    comment: str | None
    """The judge's reason; with several votes, the reason of each."""
    votes: tuple[float | bool | str, ...]
    """The single scores on the judge's own scale; fewer than `samples` if some votes failed."""
    spread: float
    """Largest minus smallest vote on the canonical scale; for labels, the share of votes outvoted."""
    usage: ModelUsage
    cut: str | None = None
    """What the judge saw of the task's trace; None for all that its prompt shows."""

    @classmethod
    def of_votes(cls, judge: ResolvedJudge, votes: Sequence[JudgeReply], usage: ModelUsage) -> "Verdict":
        """Combine the votes on one item.

        Args:
            votes: Its replies, at least one.
        """
        values = tuple(vote.value for vote in votes)
        comment = votes[0].reason
        if len(votes) > 1:
            reasons = [f"[{_format(vote.value)}] {vote.reason}" for vote in votes if vote.reason]
            comment = "\n".join(reasons) or None
        if judge.scale.kind != "NUMERIC":
            value, count = Counter(values).most_common(1)[0]
            return cls(value, judge.scale.kind, None, comment, values, 1 - count / len(values), usage)
        raws = [float(value) for value in values]
        canonical = [judge.scale.normalise(raw) for raw in raws]
        return cls(
            value=math.fsum(canonical) / len(canonical),
            data_type="NUMERIC",
            raw=math.fsum(raws) / len(raws),
            comment=comment,
            votes=values,
            spread=max(canonical) - min(canonical),
            usage=usage,
        )

    def evaluation(self, judge: ResolvedJudge) -> Evaluation:
        """Return the verdict as an evaluator's result."""
        metadata: dict[str, JsonValue] = {
            # Tells scores apart from those of earlier versions, whose judges saw the data without a fence.
            "fenced": True,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "seconds": round(self.usage.seconds, 3),
        }
        if self.cut is not None:
            metadata["trace_cut"] = self.cut
        if self.usage.batched:
            metadata["batched"] = True
        if self.raw is not None:
            metadata["raw"] = self.raw
        if judge.samples > 1:
            metadata |= {"samples": len(self.votes), "votes": list(self.votes), "spread": round(self.spread, 6)}
        return Evaluation(judge.score_name, self.value, self.data_type, self.comment, metadata)


def _format(value: float | bool | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
