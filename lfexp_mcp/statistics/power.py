"""How many items it would take to show a difference."""

import math
from collections.abc import Callable
from statistics import NormalDist

from lfexp_mcp.statistics.interval import ALPHA
from lfexp_mcp.statistics.proportions import MID_P_FROM

POWER = 0.8
"""The chance of showing the difference, if it is real, that the numbers here are for."""
_LARGEST_EXACT = 4_000
"""Items up to which the power of McNemar's test is summed; beyond, its normal approximation is as good."""


def items_for_mean(delta: float, deviation: float) -> int:
    """Items for which a paired test of means shows `delta` with a chance of `POWER`.

    Source: J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2: power of the paired t
    test from the noncentral t distribution.

    Args:
        delta: The difference to show, not zero.
        deviation: Standard deviation of the paired differences, above zero.
    """
    from scipy.stats import nct
    from scipy.stats import t as student

    effect = abs(delta) / deviation

    def power(n: int) -> float:
        critical = student.ppf(1 - ALPHA / 2, n - 1)
        return float(nct.sf(critical, n - 1, effect * n**0.5))

    start = _normal_sample_size(effect, 1.0, 1.0)
    # Far in the tail the noncentral t is slow and the normal approximation exact to the item.
    return start if start > _LARGEST_EXACT else _smallest(power, start)


def items_for_pass_rate(delta: float, discordant_share: float) -> int:
    """Items for which McNemar's test shows a difference of pass rates with a chance of `POWER`.

    Source: R. J. Connor, Biometrics 43 (1987) 207-211, for the normal approximation; up to some thousand items the
    power of the very test used is summed over the number of discordant pairs.

    Args:
        delta: The difference to show, not zero.
        discordant_share: Share of pairs that pass in one run only; at least the size of `delta`.
    """
    delta = abs(delta)
    share = min(1.0, max(discordant_share, delta))
    start = _normal_sample_size(delta, share**0.5, max(share - delta**2, 0.0) ** 0.5)
    if start > _LARGEST_EXACT:
        return start
    return _smallest(_McNemarPower(delta, share), start)


class _McNemarPower:
    """The power of McNemar's test as a function of the number of pairs."""

    def __init__(self, delta: float, share: float) -> None:
        self._delta = delta
        self._share = share

    def __call__(self, n: int) -> float:
        import numpy as np
        from scipy.stats import binom

        discordant = np.arange(n + 1)
        # Most cases that can count as a rejection: `fewer` or less on one side.
        fewer = binom.ppf(ALPHA / 2, discordant, 0.5)
        p = 2 * binom.cdf(fewer, discordant, 0.5)
        p -= np.where(discordant >= MID_P_FROM, binom.pmf(fewer, discordant, 0.5), 0.0)
        fewer = np.where(p <= ALPHA, fewer, fewer - 1)
        gain = (self._share + self._delta) / (2 * self._share)
        rejected = binom.cdf(fewer, discordant, 1 - gain)
        return float(np.sum(binom.pmf(discordant, n, self._share) * rejected))


def _normal_sample_size(effect: float, under_none: float, under_effect: float) -> int:
    """The sample size from the normal approximation, deviations being those without and with the effect."""
    normal = NormalDist()
    reach = normal.inv_cdf(1 - ALPHA / 2) * under_none + normal.inv_cdf(POWER) * under_effect
    return max(2, math.ceil((reach / effect) ** 2))


def _smallest(power: Callable[[int], float], start: int) -> int:
    """The smallest number of items that reaches `POWER`, searched around `start`."""
    high = start
    while power(high) < POWER:
        high *= 2
    low = 2
    if power(low) >= POWER:
        return low
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle) >= POWER:
            high = middle
        else:
            low = middle
    return high
