"""Many tests at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that all verdicts together are wrong at most at the level of one.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70, the step-down procedure.

    Args:
        p_values: One per test; None where no test could be made, which counts as no test.

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
