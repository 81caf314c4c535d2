"""What judges and prompt tasks used: calls, tokens, time; and what a whole run would."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lfexp_mcp.judges.prices import PriceTable


@dataclass(frozen=True, slots=True)
class Usage:
    """What some calls to one model used."""

    calls: int = 0
    """HTTP requests made, those that failed included."""
    retries: int = 0
    """Those of them that repeated one that had failed."""
    asked_again: int = 0
    """Those of them that asked once more because an answer could not be used."""
    unmetered: int = 0
    """Answers whose tokens the provider did not tell."""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """Time of the calls that were answered, added up."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.retries + other.retries,
            self.asked_again + other.asked_again,
            self.unmetered + other.unmetered,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
        )


@dataclass(slots=True)
class Meter:
    """Adds up what calls use, as they are made."""

    usage: Usage = field(default_factory=Usage)

    def add(self, used: Usage) -> None:
        """Add what a call used."""
        self.usage += used


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a whole run would use, by a sample of it."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    """USD; None when a price is unknown."""
    unknown_prices: tuple[str, ...]
    """Models whose price is not known, or whose tokens the provider did not tell."""


def estimate_run(sample: Mapping[str, Usage], sampled: int, total: int, prices: PriceTable) -> Estimate:
    """Estimate what a run uses from what a few of its items used.

    Args:
        sample: Usage per model.
        sampled: How many items that was for, at least 1.
        total: How many items the run has, repetitions included.
        prices: What the models cost.
    """
    factor = total / sampled
    costs = {model: prices.cost(model, used) for model, used in sample.items()}
    unknown = tuple(sorted(model for model, cost in costs.items() if cost is None))
    known = [cost for cost in costs.values() if cost is not None]
    return Estimate(
        calls=round(factor * sum(used.calls for used in sample.values())),
        input_tokens=round(factor * sum(used.input_tokens for used in sample.values())),
        output_tokens=round(factor * sum(used.output_tokens for used in sample.values())),
        cost=None if unknown else factor * sum(known),
        unknown_prices=unknown,
    )
