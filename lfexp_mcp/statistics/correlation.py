"""How two scores of the same items go together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lfexp_mcp.statistics.interval import Z95, Interval

MIN_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Correlation:
    """A rank correlation."""

    pairs: int
    rho: float | None
    """From -1 to 1; None for fewer than `MIN_PAIRS` pairs, or where one side is constant."""
    interval: Interval | None


def spearman(pairs: Sequence[tuple[float, float]]) -> Correlation:
    """Spearman's rank correlation of finite pairs.

    Source: C. Spearman, American Journal of Psychology 15 (1904) 72-101; the interval with the standard error of D.
    Bonett and T. Wright, Psychometrika 65 (2000) 23-28, on Fisher's z scale.
    """
    from scipy.stats import spearmanr

    n = len(pairs)
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    if n < MIN_PAIRS or len(set(firsts)) == 1 or len(set(seconds)) == 1:
        return Correlation(n, None, None)
    rho = max(-1.0, min(1.0, float(spearmanr(firsts, seconds).statistic)))
    if abs(rho) > 1 - 1e-12:
        return Correlation(n, rho, None)
    reach = Z95 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Correlation(n, rho, Interval(math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)))
