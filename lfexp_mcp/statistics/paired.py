"""Two runs, item by item: how large the difference is, how sure, and what may be said of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lfexp_mcp.statistics.interval import ALPHA, Interval
from lfexp_mcp.statistics.power import items_for_mean, items_for_pass_rate
from lfexp_mcp.statistics.proportions import mcnemar_method, mcnemar_p, tango
from lfexp_mcp.statistics.resampling import bootstrap_interval, sign_flip_p

MIN_PAIRS = 5
"""Pairs below which no difference is judged."""
DEFAULT_MIN_DELTA = 0.05
"""The difference worth seeing when none is named, as a share of the scale's width."""

Verdict = Literal["better", "worse", "no difference shown", "inconclusive"]


@dataclass(frozen=True, slots=True)
class PairedResult:
    """The difference of two runs on the same items, second minus first."""

    pairs: int
    first_mean: float
    second_mean: float
    delta: float
    interval: Interval | None
    """None where it cannot be known: too few pairs, or all differences alike on an open scale."""
    p: float | None
    """Before adjusting for other tests; None for fewer than `MIN_PAIRS` pairs."""
    method: str
    wins: int
    losses: int
    ties: int
    pass_fail: bool
    """Whether every value is 0 or 1, so that wins and losses are gained and lost passes."""
    deviation: float
    """Standard deviation of the differences; 0 for fewer than two."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may be said of a difference."""

    verdict: Verdict
    reason: str
    items_needed: int | None
    """Items that would show `shows` with power 0.8; None where nothing is left to show, or it cannot be told."""
    shows: float | None
    """The difference that `items_needed` is for."""


def compare_pairs(pairs: Sequence[tuple[float, float]], width: float | None) -> PairedResult | None:
    """Compare two runs on the items that both have.

    Args:
        pairs: (first run, second run) per item, higher being better; with repeats, the mean of each item's repeats,
            so that the item stays the unit. A pair with a value that is not finite is left out.
        width: Distance between the ends of the scale, or None for an open one.

    Returns:
        The difference, or None when no pair is left.
    """
    kept = [(first, second) for first, second in pairs if math.isfinite(first) and math.isfinite(second)]
    if not kept:
        return None
    # Values that are equal but for rounding must tie.
    differences = [round(second - first, 12) for first, second in kept]
    n = len(kept)
    delta = math.fsum(differences) / n
    wins, losses = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    pass_fail = all(value in (0.0, 1.0) for pair in kept for value in pair)
    interval, p, method = _pass_fail(wins, losses, n) if pass_fail else _means(differences, width)
    return PairedResult(
        pairs=n,
        first_mean=math.fsum(first for first, _ in kept) / n,
        second_mean=math.fsum(second for _, second in kept) / n,
        delta=delta,
        interval=interval,
        p=p if n >= MIN_PAIRS else None,
        method=method,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        pass_fail=pass_fail,
        deviation=_deviation(differences, delta),
    )


def _pass_fail(wins: int, losses: int, n: int) -> tuple[Interval | None, float, str]:
    return tango(wins, losses, n), mcnemar_p(wins, losses), f"{mcnemar_method(wins, losses)}, Tango interval"


def _means(differences: Sequence[float], width: float | None) -> tuple[Interval | None, float, str]:
    method = "paired permutation, paired bootstrap interval"
    n = len(differences)
    if n < MIN_PAIRS:
        return None, 1.0, method
    p = sign_flip_p(differences)
    if len(set(differences)) == 1:
        return _alike(differences[0], n, width), p, method
    interval = bootstrap_interval(differences)
    if width is not None:
        interval = Interval(max(interval.low, -width), min(interval.high, width))
    return interval, p, method


def _alike(value: float, n: int, width: float | None) -> Interval | None:
    """The interval of a mean when all differences are alike: others may be too rare to have been seen.

    Source: J. Hanley and A. Lippman-Hand, JAMA 249 (1983) 1743-1745, the rule of three: of what was never seen in n
    items, a share of up to 1 - 0.05^(1/n) may exist; it is taken to lie at the ends of the scale.
    """
    if width is None:
        return None
    unseen = 1 - ALPHA ** (1 / n)
    return Interval(value - unseen * (width + value), value + unseen * (width - value))


def _deviation(differences: Sequence[float], mean: float) -> float:
    if len(differences) < 2:
        return 0.0
    return math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (len(differences) - 1))


def judge(result: PairedResult, adjusted_p: float | None, min_delta: float) -> Judgement:
    """Put a difference in words.

    Better or worse: the adjusted p is below 0.05 and the interval excludes zero. No difference shown: the interval
    excludes every difference as large as `min_delta` (an equivalence judged by the interval; D. Schuirmann, Journal of
    Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680). Else inconclusive.

    Args:
        result: The difference.
        adjusted_p: Its p after adjusting for the other tests of the comparison.
        min_delta: The smallest difference worth seeing, above zero, in the score's units.
    """
    if result.pairs < MIN_PAIRS or adjusted_p is None:
        return Judgement("inconclusive", f"Only {_pairs(result.pairs)}; at least {MIN_PAIRS} are needed.", None, None)
    interval = result.interval
    if adjusted_p < ALPHA and (interval is None or interval.excludes_zero):
        verdict: Verdict = "better" if result.delta > 0 else "worse"
        return Judgement(verdict, f"Adjusted p {adjusted_p:.2g} on {_pairs(result.pairs)}.", None, None)
    if interval is not None and interval.within(min_delta):
        reason = f"The interval excludes a difference of {min_delta:g} or more either way."
        return Judgement("no difference shown", reason, None, None)
    shows = result.delta if abs(result.delta) >= min_delta else min_delta
    needed = _items_needed(result, shows)
    if result.p is not None and result.p < ALPHA <= adjusted_p:
        reason = f"p {result.p:.2g} alone, but {adjusted_p:.2g} once adjusted for the other comparisons."
    elif result.wins + result.losses == 0:
        reason = f"All {result.pairs} pairs tie, too few to exclude a difference of {min_delta:g}."
    else:
        reason = "The interval holds both no difference and one worth seeing."
    return Judgement("inconclusive", reason, needed, shows if needed is not None else None)


def _items_needed(result: PairedResult, shows: float) -> int | None:
    if result.pass_fail:
        return items_for_pass_rate(shows, (result.wins + result.losses) / result.pairs)
    return items_for_mean(shows, result.deviation) if result.deviation > 0 else None


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
