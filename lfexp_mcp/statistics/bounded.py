"""Means of values that lie between two known ends, such as scores on a scale and their differences."""

import math
from collections.abc import Sequence

from lfexp_mcp.statistics.interval import CONFIDENCE, Interval
from lfexp_mcp.statistics.resampling import bootstrap_interval


def bounded_mean_interval(values: Sequence[float], low: float, high: float, confidence: float = CONFIDENCE) -> Interval:
    """Interval of a mean that also holds where large values are too rare to have been seen.

    A sample knows nothing of values that it does not contain: when 7% of items lose most of a score, half of all
    samples of ten show none of them. Each end is therefore as far out as the bootstrap has it, or as the unseen share
    could move the mean if it lay at the end of the scale, whichever is further.

    Simulated for 6 to 60 items and 13 kinds of differences, rare large drops among them: coverage 0.94 to 1.00, where
    the bootstrap alone falls to 0.66 (`python -m tests.benchmarks coverage`).

    Source: J. Hanley and A. Lippman-Hand, JAMA 249 (1983) 1743-1745, the rule of three, for the share unseen.

    Args:
        values: One or more, each between `low` and `high`.
        low: The lowest value there can be.
        high: The highest.
        confidence: Level of the interval.

    Returns:
        The interval, never beyond the ends.
    """
    mean = math.fsum(values) / len(values)
    least, most = min(values), max(values)
    unseen = unseen_share(len(values), confidence)
    sampled = Interval(mean, mean) if least == most else bootstrap_interval(values, confidence)
    below = max(mean - sampled.low, unseen * (least - low))
    above = max(sampled.high - mean, unseen * (high - most))
    return Interval(max(mean - below, low), min(mean + above, high))


def unseen_share(n: int, confidence: float = CONFIDENCE) -> float:
    """The largest share that values may have of which a sample of `n` shows none, about 3/n at 95%."""
    return float(1 - (1 - confidence) ** (1 / n))
