"""How far two raters of the same items agree, such as a judge and a human.

Pairs of the same item go together, as those of a run's repeats do: coefficients are of all pairs, and their intervals
are as sure as there are items.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, TypeVar

from lfexp_mcp.model import Estimate, Interval
from lfexp_mcp.statistics.clusters import independent_size
from lfexp_mcp.statistics.distribution import mean_interval
from lfexp_mcp.statistics.significance import CONFIDENCE, Z95

Category = TypeVar("Category", bound=Hashable)
Weights = Literal["none", "quadratic"]
MIN_CORRELATED_PAIRS = 5
"""The standard error divides by n - 3, so that the interval of fewer pairs says nothing."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient of agreement: 1 is perfect, 0 what chance gives."""

    value: float | None
    """None if it is undefined, such as for raters that give all items the same rating."""
    interval: Interval | None


def kappa(
    pairs: Sequence[tuple[Category, Category]],
    categories: Sequence[Category],
    weights: Weights = "none",
    items: Sequence[Hashable] | None = None,
) -> Agreement:
    """Cohen's kappa, weighted by squared distance for ordered categories.

    The standard error falls to zero where all pairs agree, however few they are. The interval therefore extends at
    least as far as that of the observed agreement, with chance agreement as observed. Simulated for 5 to 80 pairs and
    kappas of 0 to 0.98: coverage 0.92 to 1.00, where the standard error alone gives 0.05 to 0.95. Where nearly all
    items pass, it is wide or undefined; see `gwet_ac1`.

    Source: J. Cohen, Educational and Psychological Measurement 20 (1960) 37-46; weights as in J. Cohen, Psychological
    Bulletin 70 (1968) 213-220; standard error of J. Fleiss, J. Cohen and B. Everitt, Psychological Bulletin 72 (1969)
    323-327.

    Args:
        pairs: (first rater, second rater), at least one.
        categories: All categories, in order.
        weights: `quadratic` for ordered, equally spaced categories.
        items: Which item each pair is of, if not each of its own.
    """
    import numpy as np

    n, size = len(pairs), len(categories)
    index = {category: place for place, category in enumerate(categories)}
    cells = [(index[first], index[second]) for first, second in pairs]
    table = np.zeros((size, size))
    for cell in cells:
        table[cell] += 1 / n
    if weights == "none" or size == 1:
        weight = np.eye(size)
    else:
        weight = 1 - (np.subtract.outer(np.arange(size), np.arange(size)) / (size - 1)) ** 2
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = float((weight * table).sum()), float(rows @ weight @ columns)
    # Both raters give every item the same rating, so that chance alone explains the agreement.
    if 1 - expected < 1e-12:
        return Agreement(None, None)

    value = (observed - expected) / (1 - expected)
    marginal = np.add.outer(weight @ columns, rows @ weight)
    influence = weight * (1 - expected) - marginal * (1 - observed) - (observed * expected - 2 * expected + observed)
    moves = [float(influence[cell]) / (1 - expected) ** 2 for cell in cells]
    return Agreement(value, _interval(value, moves, [float(weight[cell]) for cell in cells], expected, items))


def gwet_ac1(pairs: Sequence[tuple[bool, bool]], items: Sequence[Hashable] | None = None) -> Estimate:
    """Gwet's AC1 of two raters who pass or fail items.

    It holds where nearly all pass or nearly all fail, for which kappa falls to zero or is undefined. The interval
    extends at least as far as that of the observed agreement, as kappa's does. Simulated for pass rates of 0.5 to 0.98
    and kappas of 0 to 0.95: coverage 0.90 to 1.00 with 10 pairs, 0.92 to 1.00 with 20, 0.975 on average; with the
    standard error alone 0.02 to 0.97.

    Source: K. L. Gwet, British Journal of Mathematical and Statistical Psychology 61 (2008) 29-48; the standard error
    is that of the linearised coefficient.

    Args:
        pairs: Whether either passes an item, at least one.
        items: Which item each pair is of, if not each of its own.
    """
    n = len(pairs)
    passed = [(first + second) / 2 for first, second in pairs]
    agreed = [float(first == second) for first, second in pairs]
    rate, observed = math.fsum(passed) / n, math.fsum(agreed) / n
    expected = 2 * rate * (1 - rate)
    value = (observed - expected) / (1 - expected)
    # How far each pair moves the coefficient, by its linear approximation.
    moves = [
        (one - observed - (1 - value) * 2 * (1 - 2 * rate) * (share - rate)) / (1 - expected)
        for one, share in zip(agreed, passed, strict=True)
    ]
    return Estimate(value, *_interval(value, moves, agreed, expected, items))


def _interval(
    value: float,
    moves: Sequence[float],
    agreed: Sequence[float],
    expected: float,
    items: Sequence[Hashable] | None,
) -> Interval:
    """The interval of a coefficient, which extends at least as far as that of the observed agreement."""
    items = range(len(moves)) if items is None else items
    variance = math.fsum(move**2 for move in moves) / len(moves) / independent_size(moves, items)
    half_width = Z95 * math.sqrt(variance)
    of_item: dict[Hashable, list[float]] = {}
    for item, one in zip(items, agreed, strict=True):
        of_item.setdefault(item, []).append(one)
    means = [math.fsum(each) / len(each) for each in of_item.values()]
    low, high = mean_interval(means, 1.0) or (0.0, 1.0)
    # Where items have different numbers of pairs, their mean is not that of the pairs.
    shift = math.fsum(agreed) / len(agreed) - math.fsum(means) / len(means)
    return Interval(
        max(min(value - half_width, (low + shift - expected) / (1 - expected)), -1.0),
        min(max(value + half_width, (high + shift - expected) / (1 - expected)), 1.0),
    )


def spearman(
    pairs: Sequence[tuple[float, float]], confidence: float = CONFIDENCE, items: Sequence[Hashable] | None = None
) -> Agreement:
    """Spearman's rank correlation of finite pairs, of at least `MIN_CORRELATED_PAIRS` items.

    Source: C. Spearman, American Journal of Psychology 15 (1904) 72-101; the interval with the standard error of D.
    Bonett and T. Wright, Psychometrika 65 (2000) 23-28, on Fisher's z scale.
    """
    import numpy as np
    from scipy.stats import rankdata, zscore

    items = range(len(pairs)) if items is None else items
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    if len(set(items)) < MIN_CORRELATED_PAIRS or len(set(firsts)) == 1 or len(set(seconds)) == 1:
        return Agreement(None, None)
    first, second = (zscore(rankdata(values)) for values in (firsts, seconds))
    rho = max(-1.0, min(1.0, float(np.mean(first * second))))
    size = independent_size((first * second - rho * (first**2 + second**2) / 2).tolist(), items)
    # Fisher's z is infinite at 1.
    if abs(rho) > 1 - 1e-12 or size < MIN_CORRELATED_PAIRS:
        return Agreement(rho, None)
    half_width = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((1 + rho**2 / 2) / (size - 3))
    interval = Interval(math.tanh(math.atanh(rho) - half_width), math.tanh(math.atanh(rho) + half_width))
    return Agreement(rho, interval)
