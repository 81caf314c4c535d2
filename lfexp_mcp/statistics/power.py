"""How many items are needed to show a difference."""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from lfexp_mcp.statistics.distribution import max_unseen_share
from lfexp_mcp.statistics.proportions import MIN_MID_P_PAIRS
from lfexp_mcp.statistics.significance import ALPHA

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

POWER = 0.8
"""The power that the sample sizes here are for."""
_MAX_EXACT_ITEMS = 4_000
"""Items up to which power is computed exactly; beyond, the normal approximation is as good."""
_MAX_NONCENTRALITY = 1e4
"""Up to this, SciPy computes the noncentral t in floats. Beyond, t varies by the estimated deviation alone."""


def items_for_mean(
    delta: float, deviation: float, alpha: float = ALPHA, headroom: Callable[[int], float] | None = None
) -> int:
    """Items with which a paired comparison of means shows `delta` with power `POWER`.

    It is shown when the test rejects and the interval at its level, widened for values too rare to have been seen (see
    `bounded_mean_interval`), excludes zero.

    Source: J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2: power of the paired t
    test from the noncentral t distribution.

    Args:
        delta: The difference to show, not zero.
        deviation: Standard deviation of the paired differences, above zero.
        alpha: Level of the test, after adjusting for others.
        headroom: Distance from the most contrary difference that so many items show to the end of the scale, against
            `delta`; None for a scale without ends.
    """
    from scipy.stats import t as student

    effect = abs(delta) / deviation

    def power(n: int) -> float:
        unseen = max_unseen_share(n, 1 - alpha) * headroom(n) * n**0.5 / deviation if headroom else 0.0
        critical = max(student.ppf(1 - alpha / 2, n - 1), unseen)
        return _power_of_t(critical, n - 1, effect * n**0.5)

    start = _normal_sample_size(effect, 1.0, 1.0, alpha)
    # Far in the tail the noncentral t is slow, and the normal approximation exact to the item.
    return start if start > _MAX_EXACT_ITEMS else _smallest(power, start)


def _power_of_t(critical: float, freedom: int, noncentrality: float) -> float:
    """The probability that Student's t exceeds a critical value above zero."""
    from scipy.stats import chi2, nct

    if noncentrality <= _MAX_NONCENTRALITY:
        return float(nct.sf(critical, freedom, noncentrality))
    return float(chi2.cdf(freedom * (noncentrality / critical) ** 2, freedom))


def items_for_pass_rate(delta: float, discordant_share: float, alpha: float = ALPHA) -> int:
    """Items with which McNemar's test shows a difference of pass rates with power `POWER`.

    Source: R. J. Connor, Biometrics 43 (1987) 207-211, for the normal approximation; up to `_MAX_EXACT_ITEMS` the power
    of the very test used is summed over the number of discordant pairs.

    Args:
        delta: The difference to show, not zero.
        discordant_share: Share of pairs that pass in one run only, at least |delta|.
        alpha: Level of the test, after adjusting for others.
    """
    import numpy as np
    from scipy.stats import binom

    delta = abs(delta)
    share = min(1.0, max(discordant_share, delta))
    start = _normal_sample_size(delta, share**0.5, max(share - delta**2, 0.0) ** 0.5, alpha)
    if start > _MAX_EXACT_ITEMS:
        return start
    # The exact test takes somewhat more items than the approximation says, never three times as many.
    rejected = _rejected(3 * start + 50, (share + delta) / (2 * share), alpha)

    def power(n: int) -> float:
        discordant = np.arange(n + 1)
        return float(binom.pmf(discordant, n, share) @ rejected[: n + 1])

    return _smallest(power, start, len(rejected) - 1)


def upper_share(count: int, n: int) -> float:
    """The upper limit of a share of which `count` in `n` were seen, at the level `POWER` (Clopper and Pearson)."""
    from scipy.stats import beta

    return 1.0 if count >= n else float(beta.ppf(POWER, count + 1, n - count))


def upper_deviation(deviation: float, n: int) -> float:
    """The upper limit of a standard deviation, seen in `n` values, at the level `POWER`."""
    from scipy.stats import chi2

    return float(deviation * ((n - 1) / chi2.ppf(1 - POWER, n - 1)) ** 0.5)


def items_ratio(alpha: float) -> float:
    """How many times the items it takes at a level that it would at `ALPHA`, by the normal approximation."""
    normal = NormalDist()
    own, usual = (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER) for level in (alpha, ALPHA))
    return (own / usual) ** 2


def _rejected(most: int, gain: float, alpha: float) -> "npt.NDArray[np.float64]":
    """Power of McNemar's test per number of discordant pairs, when a share `gain` of them are gains."""
    import numpy as np
    from scipy.stats import binom

    # In sizes of powers of two, so that searches around the same number share a cached table.
    critical = _critical(2 ** math.ceil(math.log2(most + 1)), alpha)[: most + 1]
    return np.asarray(binom.cdf(critical, np.arange(most + 1), 1 - gain), dtype=np.float64)


@lru_cache(maxsize=64)
def _critical(size: int, alpha: float) -> "npt.NDArray[np.float64]":
    """The most pairs of the rarer kind with which McNemar's test rejects, per number of discordant pairs from 0."""
    import numpy as np
    from scipy.stats import binom

    discordant = np.arange(size)
    fewer = binom.ppf(alpha / 2, discordant, 0.5)
    p = 2 * binom.cdf(fewer, discordant, 0.5)
    p -= np.where(discordant >= MIN_MID_P_PAIRS, binom.pmf(fewer, discordant, 0.5), 0.0)
    return np.where(p <= alpha, fewer, fewer - 1)


def _normal_sample_size(effect: float, under_none: float, under_effect: float, alpha: float) -> int:
    """The sample size by the normal approximation, given the deviations without and with the effect."""
    normal = NormalDist()
    distance = normal.inv_cdf(1 - alpha / 2) * under_none + normal.inv_cdf(POWER) * under_effect
    return max(2, math.ceil((distance / effect) ** 2))


def _smallest(power: Callable[[int], float], start: int, most: int | None = None) -> int:
    """The smallest number of items that reaches `POWER`, searched from around `start` up to `most`."""
    low, high = max(2, start // 2), start
    while power(high) < POWER and high != most:
        low, high = high, high * 2 if most is None else min(high * 2, most)
    # Half of the approximation is enough already, as for tiny samples.
    if power(low) >= POWER:
        low = 2
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle) >= POWER:
            high = middle
        else:
            low = middle
    return high
