"""Two runs, item by item: how large the difference is, how sure, and what may be said of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lfexp_mcp.statistics.bounded import bounded_mean_interval, unseen_share
from lfexp_mcp.statistics.interval import ALPHA, CONFIDENCE, Interval
from lfexp_mcp.statistics.power import items_for_mean, items_for_pass_rate
from lfexp_mcp.statistics.proportions import mcnemar_method, mcnemar_p, tango
from lfexp_mcp.statistics.resampling import bootstrap_interval, sign_flip_p

MIN_PAIRS = 5
"""Pairs below which no difference is judged."""
DEFAULT_MIN_DELTA = 0.05
"""The difference worth seeing when none is named, as a share of the scale's width."""

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]


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
    differences: tuple[float, ...]
    width: float | None
    """Distance between the ends of the scale; None for an open one."""
    spread: float
    """Distance between the least and the greatest value of both runs."""

    @property
    def deviation(self) -> float:
        """Standard deviation of the differences; 0 for fewer than two."""
        if self.pairs < 2:
            return 0.0
        return math.sqrt(math.fsum((value - self.delta) ** 2 for value in self.differences) / (self.pairs - 1))

    def interval_at(self, confidence: float) -> Interval | None:
        """The interval of the difference at another level."""
        if self.pass_fail:
            return tango(self.wins, self.losses, self.pairs, confidence)
        return _mean_interval(self.differences, self.width, confidence)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may be said of a difference."""

    verdict: Verdict
    reason: str
    below_min_delta: bool = False
    """Whether better or worse is shown, yet by less than the smallest difference worth seeing."""
    items_needed: int | None = None
    """Items that would show `shows` with power 0.8; None where nothing is left to show, or it cannot be told."""
    shows: float | None = None
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
    p, method = _pass_fail(wins, losses) if pass_fail else _means(differences)
    result = PairedResult(
        pairs=n,
        first_mean=math.fsum(first for first, _ in kept) / n,
        second_mean=math.fsum(second for _, second in kept) / n,
        delta=delta,
        interval=None,
        p=p if n >= MIN_PAIRS else None,
        method=method,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        pass_fail=pass_fail,
        differences=tuple(differences),
        width=width,
        spread=max(map(max, kept)) - min(map(min, kept)),
    )
    return replace(result, interval=result.interval_at(CONFIDENCE))


def _pass_fail(wins: int, losses: int) -> tuple[float, str]:
    return mcnemar_p(wins, losses), f"{mcnemar_method(wins, losses)}, Tango interval"


def _means(differences: Sequence[float]) -> tuple[float, str]:
    p = sign_flip_p(differences) if len(differences) >= MIN_PAIRS else 1.0
    return p, "paired permutation, paired bootstrap interval"


def _mean_interval(differences: Sequence[float], width: float | None, confidence: float) -> Interval | None:
    if len(differences) < MIN_PAIRS:
        return None
    if width is not None:
        return bounded_mean_interval(differences, -width, width, confidence)
    return bootstrap_interval(differences, confidence) if len(set(differences)) > 1 else None


def verdict_of(result: PairedResult, adjusted_p: float | None, min_delta: float, tests: int = 1) -> Verdict:
    """Decide what a difference shows.

    Better or worse: the adjusted p is below 0.05 and the interval excludes zero. Equivalent: the interval, at a level
    that holds for all tests together, lies within `min_delta` of zero (two one-sided tests; D. Schuirmann, Journal of
    Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680; here each at half the usual level, so that the 95% interval
    tells it). Else inconclusive: neither is shown.

    Args:
        result: The difference.
        adjusted_p: Its p after adjusting for the other tests beside it.
        min_delta: The smallest difference worth seeing, above zero, in the score's units.
        tests: How many tests the p is adjusted for, this one included.
    """
    if result.pairs < MIN_PAIRS or adjusted_p is None:
        return "inconclusive"
    if adjusted_p < ALPHA and (result.interval is None or result.interval.excludes_zero):
        return "better" if result.delta > 0 else "worse"
    return "equivalent" if _is_equivalent(result, min_delta, tests) else "inconclusive"


def judge(result: PairedResult, adjusted_p: float | None, min_delta: float, tests: int = 1) -> Judgement:
    """Put the verdict on a difference in words; the arguments are those of `verdict_of`."""
    if result.pairs < MIN_PAIRS or adjusted_p is None:
        return Judgement("inconclusive", f"Only {_pairs(result.pairs)}; at least {MIN_PAIRS} are needed.")
    verdict = verdict_of(result, adjusted_p, min_delta, tests)
    if verdict == "equivalent":
        return Judgement(verdict, f"Equivalent within ±{min_delta:g}: the interval lies inside.")
    if verdict == "inconclusive":
        needed, shows = _items_needed(result, min_delta, tests)
        return Judgement(verdict, _doubt(result, adjusted_p, min_delta), items_needed=needed, shows=shows)
    return _shown(result, verdict, adjusted_p, min_delta, tests)


def _shown(result: PairedResult, verdict: Verdict, adjusted_p: float, min_delta: float, tests: int) -> Judgement:
    reason = f"{_p(adjusted_p, tests)} on {_pairs(result.pairs)}."
    small = abs(result.delta) < min_delta
    if small:
        inside = result.interval is not None and result.interval.within(min_delta)
        sure = "as is its whole interval" if inside else "though its interval reaches beyond"
        reason += f" The difference is smaller than {min_delta:g}, {sure}."
    return Judgement(verdict, reason, below_min_delta=small)


def _is_equivalent(result: PairedResult, margin: float, tests: int) -> bool:
    if result.interval is None or not result.interval.within(margin):
        return False
    confidence = 1 - (1 - CONFIDENCE) / tests
    interval = result.interval if tests == 1 else result.interval_at(confidence)
    # The interval on an open scale knows nothing of rare large differences: they may be as large as the values seen.
    rare = 0.0 if result.width is not None else unseen_share(result.pairs, confidence) * result.spread
    return interval is not None and interval.within(margin) and rare < margin


def _doubt(result: PairedResult, adjusted_p: float, min_delta: float) -> str:
    """Why neither a difference nor its absence is shown."""
    if result.p is not None and result.p < ALPHA <= adjusted_p:
        return f"p {result.p:.2g} alone, but {adjusted_p:.2g} once adjusted for the other comparisons."
    if result.p is not None and result.p < ALPHA:
        rare = f"{_pairs(result.pairs)} may miss rare large changes"
        return f"p {result.p:.2g}, but {rare}: the interval allows for them and holds zero."
    if result.interval is not None and result.interval.within(min_delta):
        if result.width is None and unseen_share(result.pairs) * result.spread >= min_delta:
            return f"The interval lies within ±{min_delta:g}, but {_pairs(result.pairs)} may miss rare large changes."
        return f"Equivalent within ±{min_delta:g} alone, but not once adjusted for the other comparisons."
    if result.wins + result.losses == 0:
        return f"All {result.pairs} pairs tie, too few to exclude a difference of {min_delta:g}."
    return "The interval holds both no difference and one worth seeing."


def _items_needed(result: PairedResult, min_delta: float, tests: int) -> tuple[int | None, float | None]:
    """Items to show a difference, and which one: that seen, or `min_delta` where less was seen."""
    shows = result.delta if abs(result.delta) >= min_delta else min_delta
    needed = _items_to_show(result, shows, tests)
    if needed is not None and needed <= result.pairs and result.delta != 0:
        # A difference of `min_delta` would have been shown by the items at hand: what is open is a smaller one.
        shows = result.delta
        needed = _items_to_show(result, shows, tests)
    return (None, None) if needed is None else (max(needed, result.pairs + 1), shows)


def _items_to_show(result: PairedResult, shows: float, tests: int) -> int | None:
    if result.pass_fail:
        return items_for_pass_rate(shows, (result.wins + result.losses) / result.pairs, ALPHA / tests)
    if result.deviation == 0:
        return None
    return items_for_mean(shows, result.deviation, ALPHA / tests, _reach(result, shows))


def _reach(result: PairedResult, shows: float) -> float:
    """Distance from the differences seen, were their mean `shows`, to the end of the scale that lies against it."""
    if result.width is None:
        return 0.0
    shift = shows - result.delta
    against = min(result.differences) + shift if shows > 0 else -max(result.differences) - shift
    return max(result.width + against, 0.0)


def _p(p: float, tests: int) -> str:
    return f"p {p:.2g}" if tests == 1 else f"Adjusted p {p:.2g}"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
