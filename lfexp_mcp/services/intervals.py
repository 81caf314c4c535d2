"""Intervals as answers give them."""

from lfexp_mcp.answers.comparison import Range
from lfexp_mcp.statistics.significance import Interval


def as_range(interval: Interval | None) -> Range | None:
    """An interval as answers give it."""
    return Range(low=interval.low, high=interval.high) if interval else None
