"""Stopping a comparison early: group-sequential tests of paired differences.

A look tests the items seen so far at a level of its own. The levels are such that all looks together reject as seldom
as a single test; the first are very small, so that the last is nearly that of a test without looks.

Simulated for pass/fail pairs by `python -m tests.benchmarks stopping`.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from lfexp_mcp.model import Look, LookVerdict, StoppingRule
from lfexp_mcp.statistics.paired import PairedResult, compare_pairs, paired_verdict
from lfexp_mcp.statistics.significance import Levels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SHARES = (0.4, 0.5, 0.6, 0.72, 1.0)
"""Shares of the items after which there is a look. Earlier ones would hardly ever stop a run at these levels."""
METHOD = "group-sequential test, O'Brien-Fleming-like spending (Lan-DeMets), repeated confidence interval"
GIVE_UP_SHARE = 1.08
"""Sets how soon a look gives up, see `_gives_up`: it saves 30% of the items of equal runs for a point of power."""
_GRID = 201
"""Points of a density, for levels that are right to four digits."""


def look_sizes(items: int) -> tuple[int, ...]:
    """Items at each look, in ascending order; the last is all of them."""
    return tuple(dict.fromkeys(math.ceil(round(share * items, 6)) for share in SHARES))


def place_in_order(seed: str, item_id: str) -> bytes:
    """Where an item stands in the random order of a seed, which is the same on every machine."""
    return hashlib.sha256(f"lfexp-order-v1/{seed}/{item_id}".encode("utf-8", "surrogatepass")).digest()


def spent(share: float, alpha: float) -> float:
    """How much of a two-sided level is spent at a share of the items.

    Source: K. Lan and D. DeMets, Biometrika 70 (1983) 659-663, the function alike to the boundary of P. O'Brien and T.
    Fleming, Biometrics 35 (1979) 549-556, here with half the level on each side.
    """
    from scipy.special import ndtr, ndtri

    return alpha if share >= 1 else 4 * float(ndtr(ndtri(alpha / 4) / math.sqrt(share)))


@lru_cache(maxsize=64)
def look_levels(sizes: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """The two-sided level of each look.

    The items at a look count as its information, so that the levels are known before the first item. Whether a look
    gives up plays no part in them: a run that goes on nevertheless keeps its level.

    Source: P. Armitage, C. McPherson and B. Rowe, JRSS A 132 (1969) 235-244, the recursion over the looks.

    Args:
        sizes: Items at each look, ascending; the last is all.
        alpha: Level of all looks together.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    walk, levels, before = _Walk(), list[float](), 0.0
    for size in sizes:
        share = size / sizes[-1]
        spending, before = (spent(share, alpha) - before) / 2, spent(share, alpha)
        # Beyond 38, the tail of the normal distribution is below the smallest float.
        bound = float(brentq(lambda z: walk.above(share, z) - spending, 0.0, 38.0))  # noqa: B023 - called here only
        levels.append(2 * float(ndtr(-bound)))
        walk = walk.within(share, bound)
    return tuple(levels)


def levels_at(rule: StoppingRule, number: int) -> Levels:
    """The levels of a look, from 1."""
    rise, fall = (look_levels(rule.sizes, alpha)[number - 1] for alpha in (rule.rise, rule.fall))
    return Levels(rise, fall)


def take_look(
    rule: StoppingRule, number: int, pairs: Sequence[tuple[float, float]], missing: Sequence[float] = ()
) -> Look:
    """Test the first items of a run, and decide whether it stops.

    It stops if it is better, worse or equivalent at the levels of this look, or not going to show `min_delta`; with
    values missing, only if that would be so whatever they were.

    Source: C. Jennison and B. Turnbull, Group Sequential Methods with Applications to Clinical Trials (2000), chapter
    9, repeated confidence intervals, which hold whenever and for whatever reason a run stops.

    Args:
        rule: The rule of the run.
        number: Which look it is, from 1.
        pairs: (baseline, run) of each item that has both, canonical; at least one.
        missing: The baseline's values of the items that failed or were not scored in the run.

    Raises:
        ValueError: There are no pairs.
    """
    result = compare_pairs(pairs, 1.0)
    if result is None:
        raise ValueError("a look needs pairs")
    cases = [result]
    for end in (0.0, 1.0) if missing else ():
        filled = compare_pairs([*pairs, *((value, end) for value in missing)], 1.0)
        cases += [filled] if filled is not None else []
    verdicts = {decide(case, rule, number) for case in cases}
    verdict = verdicts.pop() if len(verdicts) == 1 else None
    levels = levels_at(rule, number)
    return Look(
        number=number,
        items=rule.sizes[number - 1],
        pairs=result.pairs,
        wins=result.wins,
        losses=result.losses,
        baseline_mean=result.first_mean,
        mean=result.second_mean,
        p=result.p,
        interval=result.interval_at(levels),
        verdict=verdict,
        estimate=_estimate(result, rule, number) if verdict is not None else None,
    )


def decide(result: PairedResult, rule: StoppingRule, number: int) -> LookVerdict | None:
    """Decide what a look shows; None if the run goes on, `inconclusive` if it would show nothing.

    Args:
        result: The difference so far.
        rule: The rule of the run.
        number: Which look it is, from 1.
    """
    verdict = paired_verdict(result, rule.min_delta, levels_at(rule, number))
    if verdict == "inconclusive" and (result.p is None or not _gives_up(result, rule)):
        return None
    return verdict


def _gives_up(result: PairedResult, rule: StoppingRule) -> bool:
    """Tell whether the items left are unlikely to show a difference of `min_delta`, in either direction.

    That is so if the conditional power, with `min_delta` as the true difference, has fallen below `GIVE_UP_SHARE` of
    the share that the items left are of all, times the square of the power at the start: where there is little power,
    little of it is given up. Discordance, or the size of differences, is estimated as if one more pair in n + 2 had the
    largest difference, so that a look at equal pairs alone is not certain.

    Source: K. Lan, R. Simon and M. Halperin, Communications in Statistics C 1 (1982) 207-219, stochastic curtailment.
    """
    from scipy.special import ndtr, ndtri

    planned, least = rule.sizes[-1], rule.min_delta
    left, squares = planned - result.pairs, math.fsum(value**2 for value in result.differences)
    if left <= 0:
        return False
    # One more pair of the size 1 in n + 2; and no less than a difference of `min_delta` itself brings along.
    moment = max((squares + 1) / (result.pairs + 2), least if result.pass_fail else least**2)
    deviation, total = math.sqrt(max(moment - least**2, 1e-9)), math.sqrt(moment * planned)

    def power(level: float, items: int, reached: float = 0.0) -> float:
        expected = reached + least * items + float(ndtri(level / 2)) * total
        return float(ndtr(expected / (deviation * math.sqrt(items))))

    final, reached = levels_at(rule, len(rule.sizes)), result.pairs * result.delta
    return all(
        power(level, left, sign * reached) < GIVE_UP_SHARE * left / planned * power(level, planned) ** 2
        for level, sign in ((final.rise, 1), (final.fall, -1))
    )


def _estimate(result: PairedResult, rule: StoppingRule, number: int) -> float:
    """The difference whose median result is the one seen, with the looks in their order.

    Source: A. Tsiatis, G. Rosner and C. Mehta, Biometrics 40 (1984) 797-803, stagewise ordering.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    if result.deviation == 0:
        return result.delta
    shares = [size / rule.sizes[-1] for size in rule.sizes[:number]]
    levels = look_levels(rule.sizes, rule.rise if result.delta > 0 else rule.fall)
    error = result.deviation / math.sqrt(result.pairs)

    def above(drift: float) -> float:
        walk, total = _Walk(), 0.0
        # Only the looks before this one, which the run went on after.
        for share, level in zip(shares[:-1], levels, strict=False):
            bound = -float(ndtri(level / 2))
            total += walk.above(share, bound, drift)
            walk = walk.within(share, bound, drift)
        return total + walk.above(shares[-1], result.delta / error, drift)

    drift = float(brentq(lambda each: above(each) - 0.5, -60.0, 60.0, xtol=1e-4))
    return drift * error * math.sqrt(shares[-1])


class _Walk:
    """The cumulated score of a test at one look, as a Brownian motion over the share of the items, if it is not over.

    Args:
        share: Of the items.
        points: Values that it may have; from its start on, a grid.
        masses: Their probabilities.
    """

    def __init__(
        self,
        share: float = 0.0,
        points: "npt.NDArray[np.float64] | None" = None,
        masses: "npt.NDArray[np.float64] | None" = None,
    ) -> None:
        import numpy as np

        self._share = share
        self._points = np.zeros(1) if points is None else points
        self._masses = np.ones(1) if masses is None else masses

    def above(self, share: float, z: float, drift: float = 0.0) -> float:
        """The chance that the standardised score at the next look is above `z`."""
        from scipy.special import ndtr

        added = share - self._share
        distance = (self._points + drift * added - z * math.sqrt(share)) / math.sqrt(added)
        return float(self._masses @ ndtr(distance))

    def within(self, share: float, z: float, drift: float = 0.0) -> "_Walk":
        """The score at the next look, where its size does not exceed `z`."""
        import numpy as np

        added = share - self._share
        points = np.linspace(-z, z, _GRID) * math.sqrt(share)
        # Simpson's rule.
        weights = np.full(_GRID, (points[1] - points[0]) / 3)
        weights[1:-1:2] *= 4
        weights[2:-1:2] *= 2
        steps = points[:, None] - self._points - drift * added
        density = np.exp(-(steps**2) / (2 * added)) @ self._masses / math.sqrt(2 * math.pi * added)
        return _Walk(share, points, density * weights)
