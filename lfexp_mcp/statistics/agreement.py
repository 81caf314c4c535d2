"""Whether two raters of the same items agree, such as a judge and a human."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from lfexp_mcp.statistics.distribution import mean_interval
from lfexp_mcp.statistics.interval import Z95, Interval
from lfexp_mcp.statistics.proportions import wilson

Category = TypeVar("Category", bound=Hashable)
Weights = Literal["none", "quadratic"]


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance: 1 is perfect, 0 what chance gives."""

    pairs: int
    agreement: float
    """Share of pairs that agree exactly."""
    kappa: float | None
    """None where neither rater uses more than one category, the same one."""
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval; both None when there was nothing to share."""

    hits: int
    of: int
    share: float | None
    interval: Interval | None


def kappa(
    pairs: Sequence[tuple[Category, Category]], categories: Sequence[Category], weights: Weights = "none"
) -> Kappa:
    """Cohen's kappa, weighted by squared distance for ordered categories.

    The standard error shrinks to nothing where all pairs agree, however few. The interval therefore also reaches as far
    as that of the observed agreement does, chance being as observed. Simulated for 5 to 80 pairs and kappas of 0 to
    0.98: coverage 0.92 to 1.00, where the standard error alone has 0.05 to 0.95.

    Source: J. Cohen, Educational and Psychological Measurement 20 (1960) 37-46; weights as in J. Cohen, Psychological
    Bulletin 70 (1968) 213-220; standard error of J. Fleiss, J. Cohen and B. Everitt, Psychological Bulletin 72 (1969)
    323-327.

    Args:
        pairs: (first rater, second rater) per item, at least one.
        categories: All categories, in their order.
        weights: `quadratic` for ordered categories, which then stand at equal distances.
    """
    n, size = len(pairs), len(categories)
    place = {category: index for index, category in enumerate(categories)}
    table = [[0.0] * size for _ in range(size)]
    for first, second in pairs:
        table[place[first]][place[second]] += 1 / n
    rows = [math.fsum(row) for row in table]
    columns = [math.fsum(row[index] for row in table) for index in range(size)]
    weight = _weights(size, weights)
    cells = [(i, j) for i in range(size) for j in range(size)]
    observed = math.fsum(weight[i][j] * table[i][j] for i, j in cells)
    expected = math.fsum(weight[i][j] * rows[i] * columns[j] for i, j in cells)
    agreement = math.fsum(table[i][i] for i in range(size))
    if 1 - expected < 1e-12:
        return Kappa(n, agreement, None, None)
    value = (observed - expected) / (1 - expected)
    row_weight = [math.fsum(weight[i][j] * columns[j] for j in range(size)) for i in range(size)]
    column_weight = [math.fsum(weight[i][j] * rows[i] for i in range(size)) for j in range(size)]
    spread = math.fsum(
        table[i][j] * (weight[i][j] * (1 - expected) - (row_weight[i] + column_weight[j]) * (1 - observed)) ** 2
        for i, j in cells
    )
    variance = (spread - (observed * expected - 2 * expected + observed) ** 2) / (n * (1 - expected) ** 4)
    half = Z95 * math.sqrt(max(variance, 0.0))
    agreed = mean_interval([weight[place[first]][place[second]] for first, second in pairs], 1.0)
    low, high = (agreed.low, agreed.high) if agreed else (0.0, 1.0)
    interval = Interval(
        max(min(value - half, (low - expected) / (1 - expected)), -1.0),
        min(max(value + half, (high - expected) / (1 - expected)), 1.0),
    )
    return Kappa(n, agreement, value, interval)


def _weights(size: int, weights: Weights) -> list[list[float]]:
    if weights == "none" or size == 1:
        return [[float(i == j) for j in range(size)] for i in range(size)]
    return [[1 - ((i - j) / (size - 1)) ** 2 for j in range(size)] for i in range(size)]


def rate(hits: int, of: int) -> Rate:
    """A share with Wilson's interval, also for no cases at all."""
    return Rate(hits, of, hits / of, wilson(hits, of)) if of else Rate(hits, of, None, None)


def true_positive_rate(pairs: Sequence[tuple[bool, bool]]) -> Rate:
    """Of what the human passes, the share that the judge passes.

    Args:
        pairs: (judge passes, human passes) per item.
    """
    return rate(sum(judge and human for judge, human in pairs), sum(human for _, human in pairs))


def false_positive_rate(pairs: Sequence[tuple[bool, bool]]) -> Rate:
    """Of what the human fails, the share that the judge passes.

    Args:
        pairs: (judge passes, human passes) per item.
    """
    return rate(sum(judge and not human for judge, human in pairs), sum(not human for _, human in pairs))
