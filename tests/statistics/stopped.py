"""Simulated runs that may stop early."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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


@dataclass(frozen=True)
class Stopping:
    """How runs with one true difference ended."""

    shown: float
    """Share of them that are shown better or worse."""
    shown_whole: float
    """The same without looks."""
    items: float
    """Mean share of the items that were run."""


def stopped_runs(delta: float, discordant: float, repeats: int, rule: StoppingRule, seed: int = 1) -> Stopping:
    """Run pass/fail items with a true difference, of which so many differ between the runs."""

    @cache
    def decided(number: int, wins: int, losses: int) -> LookVerdict | None:
        result = result_of(pass_fail(wins, losses, rule.sizes[number - 1]))
        return decide(result, rule, number)

    @cache
    def is_shown(wins: int, losses: int) -> bool:
        return paired_verdict(result_of(pass_fail(wins, losses, rule.sizes[-1])), rule.min_delta) in SHOWN

    rng = np.random.default_rng(seed)
    steps = np.diff([0, *rule.sizes])
    shares = [(discordant + delta) / 2, (discordant - delta) / 2, 1 - discordant]
    counts = np.stack([rng.multinomial(step, shares, repeats)[:, :2] for step in steps], 1).cumsum(1)
    shown = whole = items = 0
    for run in counts.tolist():
        whole += is_shown(*run[-1])
        for number, (wins, losses) in enumerate(run, 1):
            verdict = decided(number, wins, losses)
            if verdict is not None or number == len(steps):
                shown, items = shown + (verdict in SHOWN), items + rule.sizes[number - 1]
                break
    return Stopping(shown / repeats, whole / repeats, items / repeats / rule.sizes[-1])


def covers(look: Look, truth: float) -> bool:
    """Whether the interval of a look holds the true difference."""
    return look.interval is not None and look.interval.low <= truth <= look.interval.high
