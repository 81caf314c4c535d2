"""Early stopping: by which rule a run may end before its last item, and the looks that were taken."""

from dataclasses import dataclass
from typing import Literal

from lfexp_mcp.model.interval import Interval
from lfexp_mcp.model.maker import RunMaker

LookVerdict = Literal["better", "worse", "equivalent", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Look:
    """One interim test of a run against its baseline, over the first items of the run's order.

    Numbers are of the pairs, canonical and second minus first, as in a comparison.
    """

    number: int
    """From 1."""
    items: int
    """Items that have a value in the baseline, of which all were done."""
    pairs: int
    """Those of them that have a value in the run as well."""
    wins: int
    losses: int
    baseline_mean: float
    mean: float
    p: float | None
    """Of this look alone."""
    interval: Interval | None
    """At the levels of this look, so that those of all looks hold together."""
    makers: tuple[RunMaker, ...] = ()
    """Of the run's values."""
    verdict: LookVerdict | None = None
    """None for a look after which the run goes on."""
    estimate: float | None = None
    """Of the difference, median-unbiased although the run stops where it is large."""

    @property
    def delta(self) -> float:
        """The difference of the means."""
        return self.mean - self.baseline_mean

    def describe(self, rule: "StoppingRule") -> str:
        """Say what the look was at, and what it showed."""
        match self.verdict:
            case None:
                shown = "the run goes on"
            case "better" | "worse":
                shown = f"{rule.score!r} is {self.verdict} than in {rule.baseline!r}"
            case "equivalent":
                shown = f"{rule.score!r} is within {rule.min_delta:g} of {rule.baseline!r}"
            case _:
                shown = f"{rule.score!r} is not going to show a difference of {rule.min_delta:g} to {rule.baseline!r}"
        interval = f", interval {self.interval.low:+.3f} to {self.interval.high:+.3f}" if self.interval else ""
        place = f"Look {self.number} of {len(rule.sizes)}, at {self.items} of {rule.sizes[-1]} items"
        if self.pairs < self.items:
            place += f" ({self.pairs} with values)"
        return f"{place}: {shown} (delta {self.delta:+.3f}{interval})."


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """When a run stops: as soon as a look shows it to be better or worse, or not going to show `min_delta`."""

    baseline: str
    score: str
    sizes: tuple[int, ...]
    """Items with a value in the baseline at each look; the last is all of them."""
    rise: float
    """Two-sided level, of all looks together, at which the run is better."""
    fall: float
    """The same for worse."""
    min_delta: float
    """As a share of the scale."""
    seed: str
    """The order of the items is by the hash of it and their ids."""
