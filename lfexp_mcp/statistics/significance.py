"""The levels of all tests and intervals here, and the adjustment of many tests for each other."""

from collections.abc import Sequence

CONFIDENCE = 0.95
"""Default level of an interval."""
ALPHA = 0.05
"""Level of a test."""
Z95 = 1.959963984540054
"""The normal quantile of `CONFIDENCE`, two-sided."""


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that the chance of any false rejection stays at the level of a single test.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70, the step-down procedure.

    Args:
        p_values: One per test; None where no test could be made, not counted as a test.

    Returns:
        The adjusted values in the same order, None where None was given.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        adjusted[index] = highest
    return adjusted
