"""The verdict of held-out items, in figures that show none of them."""

import math
from dataclasses import dataclass

from lfexp_mcp.model import Interval
from lfexp_mcp.services.comparison.missing_data import bounding_pairs
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.statistics.paired import PairedVerdict, compare_pairs, conclude
from lfexp_mcp.statistics.significance import Levels

STEPS = (0.1, 0.05, 0.02, 0.01)
"""To which figures are rounded: the coarsest that is at most a quarter of the interval's width."""
FEW = 0.05
"""Share of missing values from which the reason no longer calls them few."""

_REASONS: dict[PairedVerdict, str] = {
    "better": "The held-out items show that it is better.",
    "worse": "The held-out items show that it is worse.",
    "equivalent": "The held-out items show no difference beyond ±{min_delta:g}.",
    "inconclusive": "The held-out items show neither a difference nor that there is none beyond ±{min_delta:g}: "
    "it is not confirmed.",
}


@dataclass(frozen=True, slots=True)
class HeldOutVerdict:
    """What held-out items say."""

    verdict: PairedVerdict
    reason: str
    delta: float | None = None
    interval: Interval | None = None
    p_adjusted: float | None = None


def decide(pair: RunPair, score: str, min_delta: float, levels: Levels) -> HeldOutVerdict:
    """Decide what held-out items say of a run.

    Values that are missing, since a task failed or was not scored, are taken at their worst and at their best for the
    run: only what both say is a verdict, so that a task does not gain by failing.

    Source: C. Manski, American Economic Review 80 (1990) 319-323, bounds without assumptions on what is missing.

    Args:
        pair: The run and the baseline over the held-out items.
        score: The score, on 0-1.
        min_delta: The smallest difference of interest.
        levels: Of the look.
    """
    worst_pairs, best_pairs = bounding_pairs(pair, score)
    worst = compare_pairs(worst_pairs, 1.0)
    best = worst if best_pairs == worst_pairs else compare_pairs(best_pairs, 1.0)
    if worst is None or best is None:
        return HeldOutVerdict("inconclusive", "No held-out item has a score in either run.")
    low = conclude(worst, min_delta, levels)
    high = low if best is worst else conclude(best, min_delta, levels)
    verdict = low.verdict if low.verdict == high.verdict else "inconclusive"
    reason = _REASONS[verdict].format(min_delta=min_delta)
    share = 1 - len(pair.values(score)) / worst.pairs
    if share > 0:
        some = f"{'fewer than' if share < FEW else 'at least'} {FEW:.0%} of the items"
        reason += f" In {some} a task failed or was not scored; they count at their worst and at their best."
    if low.interval is None or high.interval is None or low.p_adjusted is None or high.p_adjusted is None:
        return HeldOutVerdict(verdict, reason)
    # The ends of both cases: it holds whatever the missing values are.
    interval = Interval(low.interval.low, high.interval.high)
    delta, interval = _coarse((worst.delta + best.delta) / 2, interval, verdict)
    return HeldOutVerdict(verdict, reason, delta, interval, coarse_p(max(low.p_adjusted, high.p_adjusted)))


def _coarse(delta: float, interval: Interval, verdict: PairedVerdict) -> tuple[float, Interval]:
    """Round a difference and its interval; the ends keep their distance to the difference, rounded up."""
    step = next((step for step in STEPS if step <= (interval.high - interval.low) / 4), STEPS[-1])
    rounded = math.floor(delta / step + 0.5) * step
    below, above = (math.ceil(side / step + 0.5) * step for side in (delta - interval.low, interval.high - delta))
    low = max(rounded - below, 0.0 if verdict == "better" else -1.0)
    high = min(rounded + above, 0.0 if verdict == "worse" else 1.0)
    return round(rounded, 2) + 0.0, Interval(round(low, 2) + 0.0, round(high, 2) + 0.0)


def coarse_p(p: float) -> float:
    """Round a p-value up to the next of 1, 0.5, 0.2, 0.1, 0.05 and so on."""
    if p <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(p))
    return min(next(round(step * unit, 12) for step in (1, 2, 5, 10) if p <= step * unit * (1 + 1e-9)), 1.0)
