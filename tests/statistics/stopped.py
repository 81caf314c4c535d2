"""Simulated runs that may stop early."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from lfexp_mcp.model import Look, LookVerdict, StoppingRule
from lfexp_mcp.statistics.paired import PairedResult, compare_pairs, paired_verdict
from lfexp_mcp.statistics.sequential import decide, look_sizes

SHOWN = ("better", "worse")


def rule_of(items: int, rise: float = 0.05, fall: float = 0.05, min_delta: float = 0.05) -> StoppingRule:
    """A rule for so many items."""
    return StoppingRule("base", "accuracy", look_sizes(items), rise, fall, min_delta, "seed")


def pass_fail(wins: int, losses: int, items: int) -> list[tuple[float, float]]:
    """Pairs of which so many are won and lost, and the rest pass in both runs."""
    return [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * (items - wins - losses)


def result_of(pairs: Sequence[tuple[float, float]]) -> PairedResult:
    """The comparison of pairs on 0-1."""
    result = compare_pairs(pairs, 1.0)
    assert result is not None
    return result


class End(NamedTuple):
    """How one run ended."""

    shown: bool
    """Whether it is shown better or worse."""
    shown_whole: bool
    """The same without looks, by all its items."""
    items: float
    """Share of the items that were run."""


@dataclass(frozen=True)
class Stopping:
    """How runs with one true difference ended: shares of them, and standard errors."""

    shown: float
    shown_whole: float
    items: float
    """Mean share of the items that were run."""
    shown_error: float
    lost_error: float
    """Of `shown_whole - shown`."""
    items_error: float

    @classmethod
    def of(cls, ends: Sequence[End]) -> "Stopping":
        """Sum up runs."""
        shown, whole, items = np.asarray(ends, dtype=np.float64).T
        errors = (float(each.std()) / len(ends) ** 0.5 for each in (shown, whole - shown, items))
        return cls(float(shown.mean()), float(whole.mean()), float(items.mean()), *errors)


@cache
def decided(rule: StoppingRule, number: int, wins: int, losses: int) -> LookVerdict | None:
    """What a look decides."""
    return decide(result_of(pass_fail(wins, losses, rule.sizes[number - 1])), rule, number)


@cache
def is_shown(rule: StoppingRule, wins: int, losses: int) -> bool:
    """Whether all items together, without looks, show a difference."""
    return paired_verdict(result_of(pass_fail(wins, losses, rule.sizes[-1])), rule.min_delta) in SHOWN


def stopped_runs(delta: float, discordant: float, repeats: int, rule: StoppingRule, seed: int = 1) -> Stopping:
    """Run pass/fail items with a true difference, of which so many differ between the runs."""
    rng = np.random.default_rng(seed)
    steps = np.diff([0, *rule.sizes])
    shares = [(discordant + delta) / 2, (discordant - delta) / 2, 1 - discordant]
    counts = np.stack([rng.multinomial(step, shares, repeats)[:, :2] for step in steps], 1).cumsum(1)
    return Stopping.of([end_of(run, rule) for run in counts.tolist()])


def end_of(counts: Sequence[tuple[int, int]], rule: StoppingRule) -> End:
    """How a run ends that has so many wins and losses at each look."""
    verdicts = (decided(rule, number, *at_look) for number, at_look in enumerate(counts, 1))
    number, verdict = next((found for found in enumerate(verdicts, 1) if found[1]), (len(counts), None))
    return End(verdict in SHOWN, is_shown(rule, *counts[-1]), rule.sizes[number - 1] / rule.sizes[-1])


def covers(look: Look, truth: float) -> bool:
    """Whether the interval of a look holds the true difference."""
    return look.interval is not None and look.interval.low <= truth <= look.interval.high
