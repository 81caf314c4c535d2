"""Two runs on the same items: how large the difference is, how certain, and what follows from it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lfexp_mcp.model import Interval
from lfexp_mcp.statistics.distribution import are_pass_fail, bounded_mean_interval, max_unseen_share
from lfexp_mcp.statistics.power import items_for_mean, items_for_pass_rate, upper_deviation, upper_share
from lfexp_mcp.statistics.proportions import mcnemar_p, tango
from lfexp_mcp.statistics.resampling import bootstrap_interval, sign_flip_p
from lfexp_mcp.statistics.significance import ALPHA, UNADJUSTED, Levels

MIN_PAIRS = 5
"""Pairs needed for a verdict on a difference."""
DEFAULT_MIN_DELTA = 0.05
"""Default smallest difference of interest, as a share of the scale's width."""

PairedVerdict = Literal["better", "worse", "equivalent", "inconclusive"]


@dataclass(frozen=True, slots=True)
class PairedResult:
    """The difference of two runs on the same items, second minus first."""

    first_mean: float
    second_mean: float
    delta: float
    p: float | None
    """Not adjusted for other tests; None for fewer than `MIN_PAIRS` pairs."""
    wins: int
    losses: int
    pass_fail: bool
    """Whether every value is 0 or 1 on a scale, so that wins and losses are items that newly pass and newly fail."""
    differences: tuple[float, ...]
    width: float | None
    """Distance between the ends of the scale; None for an open scale."""
    spread: float
    """Distance between the smallest and the largest value of both runs."""

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.differences)

    @property
    def ties(self) -> int:
        """Pairs without a difference."""
        return self.pairs - self.wins - self.losses

    @property
    def deviation(self) -> float:
        """Standard deviation of the differences; 0 for fewer than two."""
        if self.pairs < 2:
            return 0.0
        return math.sqrt(math.fsum((value - self.delta) ** 2 for value in self.differences) / (self.pairs - 1))

    @property
    def interval(self) -> Interval | None:
        """95% interval; None for too few pairs, or for all equal differences on an open scale."""
        return self.interval_at(UNADJUSTED)

    def interval_at(self, levels: Levels) -> Interval | None:
        """Interval of the difference: its lower end says at the level of a rise what is excluded, its upper of a fall.

        It holds zero unless the test rejects it, which the interval's own method may do a little earlier.
        """
        lower = self._interval(1 - levels.rise)
        if lower is None:
            return None
        upper = lower if levels.fall == levels.rise else self._interval(1 - levels.fall) or lower
        rejects = self.p is None or self.p < levels.of(self.delta)
        return Interval(lower.low if rejects else min(lower.low, 0.0), upper.high if rejects else max(upper.high, 0.0))

    def _interval(self, confidence: float) -> Interval | None:
        if self.pass_fail:
            return tango(self.wins, self.losses, self.pairs, confidence)
        if self.pairs < MIN_PAIRS:
            return None
        if self.width is not None:
            return bounded_mean_interval(self.differences, -self.width, self.width, confidence)
        return bootstrap_interval(self.differences, confidence) if len(set(self.differences)) > 1 else None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What follows from a difference."""

    verdict: PairedVerdict
    reason: str
    p_adjusted: float | None = None
    """Below `ALPHA` if p is below the level that it was tested at."""
    interval: Interval | None = None
    """Of the difference, at these levels; see `PairedResult.interval_at`."""
    equivalent_within: float | None = None
    """The runs are shown to be equivalent within any margin above this."""
    below_min_delta: bool = False
    """Whether better or worse is shown, but by less than `min_delta`."""
    items_needed: int | None = None
    """When inconclusive: items that would show `items_needed_for` with power 0.8; None where that is unknown."""
    items_needed_for: float | None = None


def compare_pairs(pairs: Sequence[tuple[float, float]], width: float | None) -> PairedResult | None:
    """Compare two runs on the items that both have.

    Args:
        pairs: (first run, second run) per item, higher being better; with repeats, the mean over an item's repeats, so
            that the item stays the unit. Pairs with a value that is not finite are left out.
        width: Distance between the ends of the scale, or None for an open scale.

    Returns:
        The difference, or None when no pair is left.

    Example:
        >>> compare_pairs([(0.0, 1.0), (1.0, 1.0), (0.0, 1.0)], width=1.0).delta
        0.6666666666666666
    """
    kept = [(first, second) for first, second in pairs if math.isfinite(first) and math.isfinite(second)]
    if not kept:
        return None
    n = len(kept)
    # Values that differ only by rounding must tie.
    differences = tuple(round(second - first, 12) for first, second in kept)
    wins, losses = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    pass_fail = are_pass_fail((value for pair in kept for value in pair), width)
    p = mcnemar_p(wins, losses) if pass_fail else sign_flip_p(differences)
    return PairedResult(
        first_mean=math.fsum(first for first, _ in kept) / n,
        second_mean=math.fsum(second for _, second in kept) / n,
        delta=math.fsum(differences) / n,
        p=p if n >= MIN_PAIRS else None,
        wins=wins,
        losses=losses,
        pass_fail=pass_fail,
        differences=differences,
        width=width,
        spread=max(map(max, kept)) - min(map(min, kept)),
    )


def paired_verdict(result: PairedResult, min_delta: float, levels: Levels = UNADJUSTED) -> PairedVerdict:
    """Decide what a difference shows; see `conclude`, which also says why and what is missing."""
    if result.pairs < MIN_PAIRS or result.p is None:
        return "inconclusive"
    interval = result.interval_at(levels)
    if result.p < levels.of(result.delta) and (interval is None or interval.excludes_zero):
        return "better" if result.delta > 0 else "worse"
    within = _equivalent_within(result, interval, levels)
    return "equivalent" if within is not None and within < min_delta else "inconclusive"


def conclude(result: PairedResult, min_delta: float, levels: Levels = UNADJUSTED) -> Conclusion:
    """Say what a difference shows, and why.

    Better or worse: p is below its level, and the interval at that level excludes zero. Equivalent: the interval lies
    within `min_delta` of zero (two one-sided tests, TOST; D. Schuirmann, Journal of Pharmacokinetics and
    Biopharmaceutics 15 (1987) 657-680; here each at half the usual level, so that the interval shown decides).
    Otherwise inconclusive.

    Args:
        min_delta: Smallest difference of interest, above zero, in the score's units.
        levels: Those that the difference is tested at, after adjusting for other tests.
    """
    if result.pairs < MIN_PAIRS or result.p is None:
        reason = f"Only {_count_pairs(result)}; at least {MIN_PAIRS} are needed."
        return Conclusion("inconclusive", reason, interval=result.interval_at(levels))
    verdict = paired_verdict(result, min_delta, levels)
    level = levels.of(result.delta)
    p, interval = min(1.0, result.p * ALPHA / level), result.interval_at(levels)
    within = _equivalent_within(result, interval, levels)
    found = Conclusion(verdict, "", p, interval, within)
    if verdict == "equivalent":
        return replace(found, reason=f"Equivalent within ±{min_delta:g}: the interval lies inside.")
    if verdict == "inconclusive":
        needed, needed_for = _items_needed(result, min_delta, levels)
        reason = _why_inconclusive(result, p, min_delta)
        if within is not None:
            reason += f" Shown to be equivalent within ±{math.ceil(within * 1000 + 1e-9) / 1000:g} only."
        return replace(found, reason=reason, items_needed=needed, items_needed_for=needed_for)
    reason = f"{'p' if level == ALPHA else 'Adjusted p'} {p:.2g} on {_count_pairs(result)}."
    if abs(result.delta) >= min_delta:
        return replace(found, reason=reason)
    inside = interval is not None and interval.within(min_delta)
    sure = "as is its whole interval" if inside else "though its interval reaches beyond"
    reason += f" The difference is smaller than {min_delta:g}, {sure}."
    return replace(found, reason=reason, below_min_delta=True)


def _equivalent_within(result: PairedResult, interval: Interval | None, levels: Levels) -> float | None:
    if interval is None:
        return None
    # The interval on an open scale ignores rare large differences, which may be as large as the spread of the values.
    confidence = 1 - min(levels.rise, levels.fall)
    rare = 0.0 if result.width is not None else max_unseen_share(result.pairs, confidence) * result.spread
    within = max(-interval.low, interval.high, rare)
    # No difference on a scale is larger than that.
    return within if result.width is None or within < result.width else None


def _why_inconclusive(result: PairedResult, adjusted_p: float, min_delta: float) -> str:
    may_miss = f"{_count_pairs(result)} may miss rare large changes"
    if result.p is not None and result.p < ALPHA <= adjusted_p:
        return f"p {result.p:.2g} alone, but {adjusted_p:.2g} once adjusted."
    if adjusted_p < ALPHA:
        return f"p {adjusted_p:.2g}, but {may_miss}: the interval allows for them and includes zero."
    if result.interval is not None and result.interval.within(min_delta):
        if result.width is None and max_unseen_share(result.pairs) * result.spread >= min_delta:
            return f"The interval lies within ±{min_delta:g}, but {may_miss}."
        return f"Equivalent within ±{min_delta:g} alone, but not once adjusted."
    if result.wins + result.losses == 0:
        return f"All {result.pairs} pairs tie, too few to exclude a difference of {min_delta:g}."
    return f"The interval includes both zero and a difference of {min_delta:g} or more."


def _items_needed(result: PairedResult, min_delta: float, levels: Levels) -> tuple[int | None, float | None]:
    """Items needed to show a difference, and which: the one seen, or `min_delta` if that is larger."""
    target = result.delta if abs(result.delta) >= min_delta else min_delta
    needed = items_to_show(result, target, levels)
    if needed is not None and needed <= result.pairs and result.delta != 0:
        # These items would have shown `min_delta`: what is open is the smaller difference seen.
        target = result.delta
        needed = items_to_show(result, target, levels)
    return (None, None) if needed is None else (max(needed, result.pairs + 1), target)


def items_to_show(result: PairedResult, target: float, levels: Levels, *, for_others: bool = False) -> int | None:
    """Items that show a difference of `target` with power 0.8, if they vary as these do; None where that is unknown.

    For other items than these, how much these vary is only an estimate; planned with its upper 80% limit, most plans
    are large enough.

    Source: R. Browne, Statistics in Medicine 14 (1995) 1933-1940, on planning with the upper limit of a deviation.

    Args:
        result: The difference on the items so far.
        target: The difference to show, not zero, in the score's units.
        levels: Those that it is to be tested at.
        for_others: Plan for other items.
    """
    level = levels.of(target)
    if result.pass_fail:
        discordant = result.wins + result.losses
        share = upper_share(discordant, result.pairs) if for_others else discordant / result.pairs
        return items_for_pass_rate(target, share, level)
    if result.pairs < 2:
        return None
    deviation = upper_deviation(result.deviation, result.pairs) if for_others else result.deviation
    if deviation == 0 and for_others and result.delta != 0 and result.width is not None:
        # All differ alike: others may differ by anything, as far as that is too rare to have been seen.
        unseen = max_unseen_share(result.pairs)
        deviation = result.width * math.sqrt(unseen * (1 - unseen))
    if deviation == 0:
        return None
    headroom = None if result.width is None else _headroom(result, target, result.width)
    return items_for_mean(target, deviation, level, headroom)


def _headroom(result: PairedResult, target: float, width: float) -> Callable[[int], float]:
    """What is left of the scale against the differences, if their mean were `target`; see `items_for_mean`.

    The most contrary of n differences is taken to be the median of what n drawn from those seen would show.
    """
    sign = math.copysign(1.0, target)
    ordered = sorted(sign * (difference + target - result.delta) for difference in result.differences)
    return lambda items: max(width + ordered[int((1 - 0.5 ** (1 / items)) * len(ordered))], 0.0)


def _count_pairs(result: PairedResult) -> str:
    return "1 pair" if result.pairs == 1 else f"{result.pairs} pairs"
