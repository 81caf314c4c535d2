"""Pass/fail values, and wins and losses: intervals that hold for few items and near 0 and 1, and McNemar's test."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from lfexp_mcp.model import Interval
from lfexp_mcp.statistics.clusters import independent_size
from lfexp_mcp.statistics.significance import ALPHA, CONFIDENCE, Z95

MIN_MID_P_PAIRS = 25
"""Discordant pairs from which the mid-p variant is used; below, the exact test, which never exceeds its level."""


def wilson(passes: float, n: float, z: float = Z95) -> Interval:
    """Interval of a proportion.

    Source: E. B. Wilson, JASA 22 (1927) 209-212, the score interval.

    Args:
        passes: Values that pass; not a whole number where values stand for more or less than one.
        n: All values, above 0.
        z: Quantile of the level.
    """
    share = min(passes / n, 1.0)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Rounding must not leave 1e-17 where the formula gives exactly 0 or 1.
    return Interval(0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half)


def beta_interval(mean: float, variance: float) -> Interval:
    """Interval of a proportion that is known to some mean and variance, by the beta distribution that has them.

    For a mean of (passes + 0.5) / (n + 1) and the variance that belongs to it, this is Jeffreys' interval, recommended
    by L. Brown, T. Cai and A. DasGupta, Statistical Science 16 (2001) 101-133.

    Args:
        mean: Above 0 and below 1.
        variance: Above 0. It counts as at most that of Jeffreys' prior, half of mean * (1 - mean).
    """
    from scipy.special import betaincinv

    size = max(mean * (1 - mean) / variance - 1, 1.0)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(betaincinv(mean * size, (1 - mean) * size, share)) for share in (tail, 1 - tail))
    return Interval(low, high)


def weighted_share(hits: Sequence[tuple[bool, float, str]]) -> tuple[float, Interval]:
    """Return the share of hits among results that stand for different numbers of others, and its interval.

    Source: Wilson's interval, for the number of independent results that these are worth; see `independent_size`.

    Args:
        hits: Whether a result is one, how many it stands for, and which item it is of; at least one result.
    """
    weights = [weight for _, weight, _ in hits]
    share = math.fsum(weight for hit, weight, _ in hits if hit) / math.fsum(weights)
    moves = [weight * (hit - share) for hit, weight, _ in hits]
    effective = independent_size(moves, [item for *_, item in hits], weights)
    return share, wilson(share * effective, effective)


def newcombe(passes: int, n: int, other_passes: int, other_n: int) -> Interval:
    """Interval of the difference of two independent proportions, first minus other.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10 (hybrid score).
    """
    first, other = wilson(passes, n), wilson(other_passes, other_n)
    share, other_share = passes / n, other_passes / other_n
    delta = share - other_share
    return Interval(
        delta - math.hypot(share - first.low, other.high - other_share),
        delta + math.hypot(first.high - share, other_share - other.low),
    )


def tango(gained: float, lost: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the difference of two paired proportions, (gained - lost) / n.

    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908, the score interval; recommended for small samples by
    Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875.

    Args:
        gained: Pairs that fail in the first run and pass in the second; not a whole number where pairs stand for less
            than one.
        lost: Pairs that pass in the first run and fail in the second.
        n: All pairs, above 0.
        confidence: Level of the interval.
    """
    delta = (gained - lost) / n
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low = _bisect(lambda value: _tango_score(gained, lost, n, value) - z, -1.0, delta)
    high = _bisect(lambda value: _tango_score(gained, lost, n, value) + z, delta, 1.0)
    return Interval(low, high)


def _tango_score(gained: float, lost: float, n: float, delta: float) -> float:
    """Tango's score statistic for a difference of `delta`; it falls as `delta` grows."""
    linear = -gained - lost + (2 * n - gained + lost) * delta
    constant = -lost * delta * (1 - delta)
    root = math.sqrt(max(linear**2 - 8 * n * constant, 0.0))
    lost_share = (root - linear) / (4 * n)
    variance = n * (2 * lost_share + delta * (1 - delta))
    distance = gained - lost - n * delta
    # Without discordant pairs, a difference of 0, or of 1 in size, has no variance: it is certain or excluded.
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """The zero of a falling function between two values, to 1e-12; an end where the function does not change sign."""
    # Each round halves the range, which is at most 2: the last is narrower than 1e-17.
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's test: exact below `MIN_MID_P_PAIRS` discordant pairs, mid-p from there.

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157; exact and mid-p as in Fagerland, Lydersen and Laake,
    BMC Medical Research Methodology 13 (2013) 91.
    """
    from scipy.stats import binom

    discordant = gained + lost
    fewer = min(gained, lost)
    p = 2 * float(binom.cdf(fewer, discordant, 0.5))
    if discordant >= MIN_MID_P_PAIRS:
        p -= float(binom.pmf(fewer, discordant, 0.5))
    return min(p, 1.0)


@dataclass(frozen=True, slots=True)
class Preference:
    """Items on which a run won, lost and tied against another one.

    A win and a loss are what newly passing and newly failing are to pass/fail scores: the share is (1 + d) / 2, where
    d = (wins - losses) / n is a difference of paired proportions. So it gets the interval and the test of those, which
    hold for few items and when all are alike.

    Example:
        >>> Preference(wins=7, losses=2, ties=1).share
        0.75
    """

    wins: int
    losses: int
    ties: int = 0

    @property
    def n(self) -> int:
        """All items."""
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float | None:
        """Preference for the run, 0-1, where a tie is half a win; None without items."""
        return (self.wins + self.ties / 2) / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """95% interval of the share, by Tango's score interval; see `tango`."""
        if not self.n:
            return None
        difference = tango(self.wins, self.losses, self.n)
        return Interval((1 + difference.low) / 2, (1 + difference.high) / 2)

    @property
    def p(self) -> float | None:
        """Two-sided p of the sign test on the items without a tie (McNemar's); 1 if all tie, None without items."""
        return mcnemar_p(self.wins, self.losses) if self.n else None

    @property
    def verdict(self) -> Literal["better", "worse", "inconclusive"]:
        """What the sign test says at the 5% level."""
        if self.p is None or self.p >= ALPHA:
            return "inconclusive"
        return "better" if self.wins > self.losses else "worse"
