"""Groups of a run's items against the rest of it, such as those that share a metadata value."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfexp_mcp.statistics.bounded import unseen_share
from lfexp_mcp.statistics.interval import CONFIDENCE, Interval
from lfexp_mcp.statistics.paired import MIN_PAIRS
from lfexp_mcp.statistics.proportions import newcombe
from lfexp_mcp.statistics.resampling import group_sums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The difference of a group and the rest, group minus rest."""

    mean: float
    other_mean: float
    delta: float
    interval: Interval | None
    """None where it cannot be known: too few items, or no spread on an open scale."""
    p: float | None
    """None where no test can be made: fewer than `MIN_PAIRS` items on a side, or no spread at all."""
    method: str


def compare_with_rest(
    values: Sequence[float], groups: Sequence[Collection[int]], width: float | None, tests: int = 1
) -> list[GroupResult]:
    """Compare the mean of each group with the mean of all other values.

    Pass/fail values: Fisher's exact test (R. A. Fisher, JRSS 85 (1922) 87-94) with Newcombe's interval. Others: the
    permutation test of the difference of means (R. A. Fisher, The Design of Experiments (1935), section 21), which
    holds for groups however small and values however skewed, with Student's interval of each mean, widened as
    `bounded_mean_interval` does, and combined as in R. Newcombe, Statistics in Medicine 17 (1998) 873-890.

    Args:
        values: Finite values of all items.
        groups: The places of each group's values; neither a group nor the rest of it is empty.
        width: Distance between the ends of the scale, which begins at 0; None for an open one.
        tests: How many tests the p values will be adjusted for, so that enough permutations are drawn.
    """
    pass_fail = all(value in (0.0, 1.0) for value in values)
    p_values = _fisher(values, groups) if pass_fail else _permuted(values, groups, tests)
    return [_result(values, group, p, width, pass_fail=pass_fail) for group, p in zip(groups, p_values, strict=True)]


def _result(
    values: Sequence[float], group: Collection[int], p: float | None, width: float | None, *, pass_fail: bool
) -> GroupResult:
    inside, outside = _split(values, group)
    mean, other_mean = math.fsum(inside) / len(inside), math.fsum(outside) / len(outside)
    interval = None
    if p is not None:
        interval = _newcombe(inside, outside) if pass_fail else _difference(inside, outside, width)
    method = "Fisher exact, Newcombe interval" if pass_fail else "permutation"
    return GroupResult(mean, other_mean, mean - other_mean, interval, p, method)


def _split(values: Sequence[float], group: Collection[int]) -> tuple[list[float], list[float]]:
    members = set(group)
    inside = [value for place, value in enumerate(values) if place in members]
    return inside, [value for place, value in enumerate(values) if place not in members]


def _is_large_enough(values: Sequence[float], group: Collection[int]) -> bool:
    return MIN_PAIRS <= len(group) <= len(values) - MIN_PAIRS


def _fisher(values: Sequence[float], groups: Sequence[Collection[int]]) -> list[float | None]:
    import numpy as np
    from scipy.stats import fisher_exact

    passes, p_values = round(sum(values)), list[float | None]()
    for group in groups:
        inside = round(sum(values[place] for place in group))
        outside = passes - inside
        table = np.array([[inside, len(group) - inside], [outside, len(values) - len(group) - outside]])
        p_values.append(float(fisher_exact(table).pvalue) if _is_large_enough(values, group) else None)
    return p_values


def _permuted(values: Sequence[float], groups: Sequence[Collection[int]], tests: int) -> list[float | None]:
    """Two-sided p of each group's mean among the means of as many values drawn at random.

    Source: B. Phipson and G. Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) 39, for the p
    value of drawn permutations.
    """
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    if np.ptp(data) < 1e-12:
        return [None] * len(groups)
    centred = (data - data.mean()) / np.ptp(data)
    # The rest deviates from the mean as far as the group does: of the two the smaller is drawn.
    sizes = [min(len(group), data.size - len(group)) for group in groups]
    large = [_is_large_enough(values, group) for group in groups]
    drawn = group_sums(centred, {size for size, enough in zip(sizes, large, strict=True) if enough}, tests)
    return [
        _share_beyond(drawn[size], abs(float(centred[list(group)].sum()))) if enough else None
        for group, size, enough in zip(groups, sizes, large, strict=True)
    ]


def _share_beyond(drawn: "npt.NDArray[np.float64]", seen: float) -> float:
    import numpy as np

    # Sums that differ by rounding alone count as equal.
    return float((np.sum(np.abs(drawn) >= seen - 1e-9) + 1) / (drawn.size + 1))


def _newcombe(inside: Sequence[float], outside: Sequence[float]) -> Interval:
    return newcombe(round(sum(inside)), len(inside), round(sum(outside)), len(outside))


def _difference(inside: Sequence[float], outside: Sequence[float], width: float | None) -> Interval | None:
    if width is None and min(inside) == max(inside) and min(outside) == max(outside):
        return None
    below, above = _distances(inside, width)
    other_below, other_above = _distances(outside, width)
    delta = math.fsum(inside) / len(inside) - math.fsum(outside) / len(outside)
    interval = Interval(delta - math.hypot(below, other_above), delta + math.hypot(above, other_below))
    return interval if width is None else Interval(max(interval.low, -width), min(interval.high, width))


def _distances(values: Sequence[float], width: float | None) -> tuple[float, float]:
    """How far the mean may lie below and above the one seen."""
    from scipy.stats import t as student

    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    reach = float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / n**0.5
    if width is None:
        return reach, reach
    unseen = unseen_share(n)
    return max(reach, unseen * min(values)), max(reach, unseen * (width - max(values)))
