"""What held-out items promise: equal variants are hardly ever confirmed, and a real gain is, at the size stated."""

from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np
import numpy.typing as npt

from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.confirmation.case import levels_of, size_of
from lfexp_mcp.services.confirmation.verdict import decide
from lfexp_mcp.statistics.paired import compare_pairs
from tests.benchmarks.runners import Bench
from tests.benchmarks.selection import SURELY_NOT, VARIANTS, Sampler, judged, pass_fail
from tests.benchmarks.stored import Values
from tests.benchmarks.table import Row
from tests.statistics.simulated import run_of

LOOPS = 400
TRIALS = 400
GAIN = 0.08
HOLDOUTS = ((70, 30), (140, 60), (210, 90))
"""Shown and held-out items."""

Policy = Callable[[Values], Iterator[int]]
"""From the shown values of all runs, the baseline's first, to the runs to confirm, in their order."""
Gain = Callable[[np.random.Generator, int], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
"""Draws a baseline and a run that is better by `GAIN`."""


def all_runs(shown: Values) -> Iterator[int]:
    """Confirm every variant, whatever the shown items say."""
    yield from range(1, len(shown))


def looking_better(shown: Values) -> Iterator[int]:
    """Confirm every variant that looks better on the shown items."""
    yield from (run for run in range(1, len(shown)) if shown[run].mean() > shown[0].mean())


def best_of_five(shown: Values) -> Iterator[int]:
    """Confirm the best-looking of every five variants."""
    yield from (start + int(shown[start : start + 5].mean(axis=1).argmax()) for start in range(1, len(shown), 5))


def independent_passes(rng: np.random.Generator, items: int) -> tuple[Values, Values]:
    """Two runs that pass items of different difficulty by themselves: about 38% of the items differ."""
    difficulty = rng.beta(2, 1.5, items)
    # What is left to gain is 1.5 / 3.5 on average.
    return _drawn(rng, difficulty), _drawn(rng, difficulty + GAIN * 3.5 / 1.5 * (1 - difficulty))


def alike_passes(rng: np.random.Generator, items: int) -> tuple[Values, Values]:
    """Two runs that differ in 20% of the items: 14% newly pass, 6% newly fail."""
    kind = rng.choice(4, items, p=[0.14, 0.06, 0.5, 0.3])
    return np.isin(kind, (1, 2)).astype(np.float64), np.isin(kind, (0, 2)).astype(np.float64)


def judged_gain(rng: np.random.Generator, items: int) -> tuple[Values, Values]:
    """Two runs that a judge gives tenths."""
    quality = rng.beta(4, 2.5, items)
    noisy = (quality + shift + rng.normal(0, 0.15, items) for shift in (0.0, SHIFT))
    first, second = (np.asarray(np.round(np.clip(each, 0, 1), 1), dtype=np.float64) for each in noisy)
    return first, second


SHIFT = 0.0861
"""By which the judged quality rises, for a mean difference of `GAIN` where some is cut at the end of the scale."""


def _drawn(rng: np.random.Generator, chance: npt.NDArray[np.float64]) -> Values:
    return (rng.random(len(chance)) < chance).astype(np.float64)


def confirmed(sampler: Sampler, policy: Policy, shown: int, held_out: int, loops: int) -> float:
    """The share of loops over equal variants in which the held-out items call one better."""
    rng, told = np.random.default_rng(51), 0
    for _ in range(loops):
        values = sampler(rng, VARIANTS + 1, shown + held_out)
        hidden = values[:, shown:]
        looks = enumerate(policy(values[:, :shown]), start=1)
        told += any(_verdict(hidden[0], hidden[run], look) == "better" for look, run in looks)
    return told / loops


def power(gain: Gain, shown: int, look: int, trials: int) -> tuple[float, float]:
    """The share of trials in which a real gain is confirmed at the size that was stated, and the mean size."""
    rng, told, sizes = np.random.default_rng(52), 0, []
    for _ in range(trials):
        measured = compare_pairs(list(zip(*map(np.ndarray.tolist, gain(rng, shown)), strict=True)), 1.0)
        assert measured is not None
        needed = size_of(measured, 10**6, GAIN, levels_of(look)).needed
        assert needed is not None
        sizes.append(needed)
        told += _verdict(*gain(rng, needed), look) == "better"
    return told / trials, float(np.mean(sizes))


def _verdict(baseline: Values, run: Values, look: int) -> str:
    differences = run - baseline
    if differences.sum() < SURELY_NOT * (differences @ differences) ** 0.5:
        return "not better"
    first, second = (
        run_of([{"acc": value} for value in values.tolist()], name=name)
        for name, values in (("old", baseline), ("new", run))
    )
    return decide(pair_runs(first, second), "acc", GAIN, levels_of(look)).verdict


async def confirmation(_bench: Bench) -> AsyncIterator[Row]:
    """Of loops over 50 equal variants, the share in which one is confirmed; and how often a gain of 8 points is."""
    for sampler in (pass_fail, judged):
        for shown, held_out in HOLDOUTS:
            for policy in (all_runs, looking_better, best_of_five):
                share = confirmed(sampler, policy, shown, held_out, LOOPS)
                limit = 0.05 + 3 * (0.05 * 0.95 / LOOPS) ** 0.5
                case = f"{sampler.__name__}, {held_out} held out, {policy.__name__}, {LOOPS} loops"
                yield Row(case, f"{share:.3f}", "", "", "<= 0.05", share <= limit)
    for gain in (independent_passes, alike_passes, judged_gain):
        for look in (1, 3):
            share, size = power(gain, 210, look, TRIALS)
            limit = 0.8 - 3 * (0.8 * 0.2 / TRIALS) ** 0.5
            case = f"+8 points, {gain.__name__}, look {look}, {size:.0f} held out, {TRIALS} trials"
            yield Row(case, f"{share:.3f}", "", "", ">= 0.8", share >= limit)
