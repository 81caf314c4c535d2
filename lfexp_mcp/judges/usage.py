"""What judges and prompt tasks used: calls, tokens, time; and what a whole run would."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.model import ModelUsage


@dataclass(slots=True)
class Meter:
    """Adds up what calls use, as they are made."""

    usage: ModelUsage = field(default_factory=ModelUsage)

    def add(self, used: ModelUsage) -> None:
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
    price_sources: tuple[str, ...]
    """Who tells the prices that are known."""


def estimate_run(sample: Mapping[str, ModelUsage], sampled: int, total: int, prices: PriceTable) -> Estimate:
    """Estimate what a run uses from what a few of its items used.

    Args:
        sample: ModelUsage per model.
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
        price_sources=tuple(sorted({price.source for price in map(prices.price_of, sample) if price is not None})),
    )
