"""The levels of all tests and intervals here, and the adjustment of many tests for each other."""

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""Default level of an interval."""
ALPHA = 0.05
"""Level of a test."""
Z95 = 1.959963984540054
"""The normal quantile of `CONFIDENCE`, two-sided."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The two-sided levels at which a difference is called a rise or a fall; half of each is on its own side."""

    rise: float = ALPHA
    fall: float = ALPHA

    def of(self, delta: float) -> float:
        """The level that a difference of this sign is tested at."""
        return self.rise if delta > 0 else self.fall


UNADJUSTED = Levels()


def spending_factor(rank: int, together: int = 1) -> float:
    """By how much the p of the `rank`-th candidate counts: `rank (rank + 1) / 2`, or `rank (rank + together) / 2`.

    The levels of all candidates, `ALPHA / spending_factor(rank)` each, sum to `2 ALPHA` however many there will be, so
    that the chance that any of equal candidates is called better, on one side, is at most `ALPHA`. The first is tested
    as if it were alone, and what was said of one is not changed by those after it. Dividing by the number of candidates
    so far does neither: 1 + 1/2 + 1/3 + ... has no limit.

    Source: alpha-spending over tests without an end, as in D. Robertson, J. Wason and A. Ramdas, Statistical Science 38
    (2023) 557-575.

    Args:
        rank: From 1; of several that were begun together, that of the first.
        together: How many were begun together; they share what is theirs evenly.
    """
    return rank * (rank + together) / 2


def holm_factors(p_values: Sequence[float | None]) -> list[float | None]:
    """Return by how much each p counts, so that the chance of any false rejection stays at the level of a single test.

    A test at `ALPHA` divided by its factor rejects where the adjusted p does.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70, the step-down procedure.

    Args:
        p_values: One per test; None where no test could be made, not counted as a test.

    Returns:
        The factors in the same order, None where None was given.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    factors: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, p * (len(tested) - rank))
        factors[index] = highest / p if p > 0 else float(len(tested) - rank)
    return factors


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values by `holm_factors`."""
    factors = holm_factors(p_values)
    return [
        None if p is None or factor is None else min(1.0, p * factor)
        for p, factor in zip(p_values, factors, strict=True)
    ]
