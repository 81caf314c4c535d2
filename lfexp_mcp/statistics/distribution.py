"""How the values of one score are spread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lfexp_mcp.statistics.bounded import bounded_mean_interval
from lfexp_mcp.statistics.interval import Interval
from lfexp_mcp.statistics.proportions import wilson
from lfexp_mcp.statistics.resampling import bootstrap_interval

MIN_VALUES = 5
"""Values on an open scale below which the interval of their mean is not known."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a histogram; `high` belongs to the next bar, but to the last one itself."""

    low: float
    high: float
    count: int


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of a non-empty sample by linear interpolation.

    Source: R. Hyndman and Y. Fan, The American Statistician 50 (1996) 361-365, type 7.
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def histogram(values: Sequence[float], low: float, high: float, bins: int = 10) -> list[Bin]:
    """Count finite values in bins of equal width from `low` to `high`; values beyond go to the end bins."""
    if high <= low:
        return [Bin(low, high, len(values))]
    width = (high - low) / bins
    counts = [0] * bins
    for value in values:
        # The nudge keeps 0.3, which is 2.999... bins of 0.1, out of the bin below it.
        place = math.floor((value - low) / width + 1e-9)
        counts[min(max(place, 0), bins - 1)] += 1
    edges = [round(low + width * index, 10) for index in range(bins + 1)]
    return [Bin(edges[index], edges[index + 1], count) for index, count in enumerate(counts)]


def mean_interval(values: Sequence[float], width: float | None) -> Interval | None:
    """Interval of a mean: Wilson's for passes and failures, else the bootstrap's, on a scale never beyond its ends.

    Args:
        values: Finite values.
        width: Where the scale that begins at 0 ends; None for an open one.

    Returns:
        None for no values; on an open scale for fewer than five, and for values that are all alike.
    """
    if not values:
        return None
    if all(value in (0.0, 1.0) for value in values):
        return wilson(round(sum(values)), len(values))
    if width is not None:
        return bounded_mean_interval(values, 0.0, width)
    return bootstrap_interval(values) if len(values) >= MIN_VALUES and len(set(values)) > 1 else None
