"""Results of the same item go together: how many independent results they are worth."""

import math
from collections.abc import Collection, Hashable, Iterable, Sequence

NEGLIGIBLE = 1e-18
"""A sum of squares that comes of rounding."""


def independent_size(
    moves: Sequence[float], items: Sequence[Hashable], weights: Sequence[float] | None = None
) -> float:
    """Return how many independent results tell as much about an estimate as these.

    Repeats that are alike are worth one result together, and repeats that differ as much as results of other items are
    worth one each.

    Source: the design effect of L. Kish, Survey Sampling (1965), chapter 5, of the linearised estimate; of results
    that are alike, his effective number for weights.

    Args:
        moves: How far each result pulls the estimate; they sum to 0. With weights, these are part of them.
        items: Which item each result is of.
        weights: How many results each stands for, if not for itself alone.

    Example:
        >>> independent_size([1, 1, -1, -1], ["a", "a", "b", "b"])
        2.0
    """
    weights = [1.0] * len(moves) if weights is None else weights
    most = _effective(weights)
    together, weight_of = dict[Hashable, float](), dict[Hashable, float]()
    for move, item, weight in zip(moves, items, weights, strict=True):
        together[item] = together.get(item, 0.0) + move
        weight_of[item] = weight_of.get(item, 0.0) + weight
    if len(together) == len(moves):
        return most
    least, alone = _effective(weight_of.values()), _squares(moves)
    # Results that are all alike, or all of one item, do not tell how alike those of an item are.
    if len(together) == 1 or alone < NEGLIGIBLE:
        return least
    clustered = _squares(together.values()) * len(together) / (len(together) - 1)
    return min(max(most * alone / max(clustered, NEGLIGIBLE), least), most)


def _effective(weights: Collection[float]) -> float:
    return math.fsum(weights) ** 2 / _squares(weights)


def _squares(values: Iterable[float]) -> float:
    return math.fsum(value**2 for value in values)
