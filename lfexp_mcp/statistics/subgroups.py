"""Subgroups of a run's items against the rest, such as those that share a metadata value."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lfexp_mcp.model import Interval
from lfexp_mcp.statistics.distribution import are_pass_fail, max_unseen_share
from lfexp_mcp.statistics.paired import MIN_PAIRS
from lfexp_mcp.statistics.proportions import newcombe
from lfexp_mcp.statistics.resampling import sampled_sums
from lfexp_mcp.statistics.significance import CONFIDENCE


@dataclass(frozen=True, slots=True)
class SubgroupDifference:
    """The difference between a subgroup and the rest, subgroup minus rest."""

    mean: float
    rest_mean: float
    delta: float
    interval: Interval | None
    """None where `p` is, or without spread on an open scale."""
    p: float | None
    """None where no test can be made: fewer than `MIN_PAIRS` items on a side, or no spread at all."""


def compare_with_rest(
    values: Sequence[float], groups: Sequence[Collection[int]], width: float | None, tests: int = 1
) -> list[SubgroupDifference]:
    """Compare the mean of each subgroup with the mean of all other values.

    Pass/fail values: Fisher's exact test (R. A. Fisher, JRSS 85 (1922) 87-94) with Newcombe's interval. Others: the
    permutation test of the difference of means (R. A. Fisher, The Design of Experiments (1935), section 21), which
    holds for small groups and skewed values, with Student's interval of each mean, widened as in
    `bounded_mean_interval`, combined as in R. Newcombe, Statistics in Medicine 17 (1998) 873-890.

    Args:
        values: Finite values of all items.
        groups: Indices of each subgroup's values; neither a subgroup nor its rest is empty.
        width: Upper end of the scale, which starts at 0; None for an open scale.
        tests: How many tests the p-values will be adjusted for, so that enough permutations are drawn.
    """
    pass_fail = are_pass_fail(values, width)
    p_values = _fisher(values, groups) if pass_fail else _permutation(values, groups, tests)
    return [
        _difference(values, group, p if _is_large_enough(values, group) else None, width, pass_fail=pass_fail)
        for group, p in zip(groups, p_values, strict=True)
    ]


def _difference(
    values: Sequence[float], group: Collection[int], p: float | None, width: float | None, *, pass_fail: bool
) -> SubgroupDifference:
    members = set(group)
    inside = [value for index, value in enumerate(values) if index in members]
    rest = [value for index, value in enumerate(values) if index not in members]
    mean, rest_mean = math.fsum(inside) / len(inside), math.fsum(rest) / len(rest)
    if p is None:
        interval = None
    elif pass_fail:
        interval = newcombe(round(sum(inside)), len(inside), round(sum(rest)), len(rest))
    else:
        interval = _mean_difference_interval(inside, rest, width)
    return SubgroupDifference(mean, rest_mean, mean - rest_mean, interval, p)


def _is_large_enough(values: Sequence[float], group: Collection[int]) -> bool:
    return MIN_PAIRS <= len(group) <= len(values) - MIN_PAIRS


def _fisher(values: Sequence[float], groups: Sequence[Collection[int]]) -> list[float]:
    import numpy as np
    from scipy.stats import fisher_exact

    passes, p_values = round(sum(values)), list[float]()
    for group in groups:
        inside = round(sum(values[index] for index in group))
        rest = passes - inside
        table = np.array([[inside, len(group) - inside], [rest, len(values) - len(group) - rest]])
        p_values.append(float(fisher_exact(table).pvalue))
    return p_values


def _permutation(values: Sequence[float], groups: Sequence[Collection[int]], tests: int) -> list[float | None]:
    """Two-sided p of each group's mean among the means of random groups of its size.

    Source: B. Phipson and G. Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) 39, for the p
    value of drawn permutations.
    """
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    if np.ptp(data) < 1e-12:
        return [None] * len(groups)
    centred = (data - data.mean()) / np.ptp(data)
    # The rest deviates from the mean as far as the group does, so the smaller of the two is drawn.
    sizes = [min(len(group), data.size - len(group)) for group in groups]
    drawn = sampled_sums(centred, {size for size in sizes if size >= MIN_PAIRS}, tests)
    p_values = list[float | None]()
    for group, size in zip(groups, sizes, strict=True):
        if size < MIN_PAIRS:
            p_values.append(None)
            continue
        # Sums that differ only by rounding count as equal.
        extreme = np.sum(np.abs(drawn[size]) >= abs(float(centred[list(group)].sum())) - 1e-9)
        p_values.append(float((extreme + 1) / (drawn[size].size + 1)))
    return p_values


def _mean_difference_interval(inside: Sequence[float], rest: Sequence[float], width: float | None) -> Interval | None:
    if width is None and min(inside) == max(inside) and min(rest) == max(rest):
        return None
    below, above = _distances(inside, width)
    rest_below, rest_above = _distances(rest, width)
    delta = math.fsum(inside) / len(inside) - math.fsum(rest) / len(rest)
    interval = Interval(delta - math.hypot(below, rest_above), delta + math.hypot(above, rest_below))
    return interval if width is None else Interval(max(interval.low, -width), min(interval.high, width))


def _distances(values: Sequence[float], width: float | None) -> tuple[float, float]:
    """How far the true mean may lie below and above the mean of a sample."""
    from scipy.stats import t as student

    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half_width = float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / n**0.5
    if width is None:
        return half_width, half_width
    # See `bounded_mean_interval`.
    unseen = max_unseen_share(n)
    return max(half_width, unseen * min(values)), max(half_width, unseen * (width - max(values)))
