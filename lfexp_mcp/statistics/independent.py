"""Two groups of different items, such as a slice of a run and the rest of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lfexp_mcp.statistics.interval import CONFIDENCE, Interval
from lfexp_mcp.statistics.paired import MIN_PAIRS
from lfexp_mcp.statistics.proportions import newcombe


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The difference of two groups, first minus other."""

    mean: float
    other_mean: float
    delta: float
    interval: Interval | None
    p: float | None
    """None where no test can be made: a group under `MIN_PAIRS` items, or no spread at all."""
    method: str


def compare_groups(group: Sequence[float], other: Sequence[float]) -> GroupResult:
    """Compare the means of two groups of finite values, neither empty.

    Pass/fail values: Fisher's exact test (R. A. Fisher, JRSS 85 (1922) 87-94) with Newcombe's interval. Others:
    Welch's t test (B. L. Welch, Biometrika 34 (1947) 28-35) with its interval.
    """
    mean, other_mean = math.fsum(group) / len(group), math.fsum(other) / len(other)
    pass_fail = all(value in (0.0, 1.0) for value in (*group, *other))
    method = "Fisher exact, Newcombe interval" if pass_fail else "Welch t"
    if len(group) < MIN_PAIRS or len(other) < MIN_PAIRS:
        return GroupResult(mean, other_mean, mean - other_mean, None, None, method)
    interval, p = _pass_fail(group, other) if pass_fail else _welch(group, other)
    return GroupResult(mean, other_mean, mean - other_mean, interval, p, method)


def _pass_fail(group: Sequence[float], other: Sequence[float]) -> tuple[Interval | None, float | None]:
    import numpy as np
    from scipy.stats import fisher_exact

    passes, other_passes = round(sum(group)), round(sum(other))
    table = np.array([[passes, len(group) - passes], [other_passes, len(other) - other_passes]])
    p = float(fisher_exact(table).pvalue)
    return newcombe(passes, len(group), other_passes, len(other)), p


def _welch(group: Sequence[float], other: Sequence[float]) -> tuple[Interval | None, float | None]:
    from scipy.stats import ttest_ind

    if max(group) - min(group) < 1e-12 and max(other) - min(other) < 1e-12:
        return None, None
    result = ttest_ind(group, other, equal_var=False)
    interval = result.confidence_interval(CONFIDENCE)
    return Interval(float(interval.low), float(interval.high)), float(result.pvalue)
