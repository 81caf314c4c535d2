"""What verdicts and intervals promise, on runs whose truth is known, through the services that judge them."""

from collections.abc import AsyncIterator

import numpy as np

from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.services.analysis.distributions import SHOWN_TO_DIFFER, slice_run
from lfexp_mcp.services.comparison.candidates import Candidates
from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.comparison.score_comparison import compare_scores
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.resampling import bootstrap_interval
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.statistics.simulated import EXACT, RARE, Sampler, noisy_run, run_of, skewed, truth_of, u_shaped

REPEATS = 400
ERROR = 3 * (0.05 * 0.95 / REPEATS) ** 0.5
"""Three standard errors of a share of 5% in so many repeats."""
ANALYSES = 300
COMPARISONS = 100
"""Of up to 20 scores each, to measure power."""


async def coverage(_bench: Bench) -> AsyncIterator[Row]:
    """Of 95% intervals of a delta, the share that holds the truth; and how often a real difference is `equivalent`."""
    for sampler in RARE:
        truth = truth_of(sampler)
        for n in (6, 10, 15, 20, 40, 80):
            held, alone, equivalent = _covered(sampler, n, truth)
            holds = held >= 0.95 - ERROR and (abs(truth) < 0.05 or equivalent <= 0.05)
            yield Row(
                f"interval, {sampler.__name__}, n={n}",
                f"{held:.3f}, equivalent {equivalent:.3f}",
                f"bootstrap {alone:.3f}",
                "",
                ">= 0.95",
                holds,
            )


def _covered(sampler: Sampler, n: int, truth: float) -> tuple[float, float, float]:
    rng, held, alone, equivalent = np.random.default_rng(1), 0, 0, 0
    for _ in range(REPEATS):
        differences = sampler(rng, n)
        line = _compare([differences.tolist()])
        assert line.interval is not None
        held += line.interval.low <= truth <= line.interval.high
        equivalent += line.verdict == "equivalent"
        if np.ptp(differences) > 0:
            sampled = bootstrap_interval(differences.tolist())
            alone += sampled.low <= truth <= sampled.high
    return held / REPEATS, alone / REPEATS, equivalent / REPEATS


async def slices(_bench: Bench) -> AsyncIterator[Row]:
    """Of analyses with 30 slices that tell nothing, the share that calls one better or worse."""
    for sampler in (skewed, u_shaped):
        for n in (60, 150, 400):
            rng = np.random.default_rng(2)
            wrong = sum(
                any(one.verdict in SHOWN_TO_DIFFER for one in slice_run(noisy_run(rng, sampler, n), ["quality"]))
                for _ in range(ANALYSES)
            )
            limit = 0.05 + 3 * (0.05 * 0.95 / ANALYSES) ** 0.5
            share = wrong / ANALYSES
            yield Row(f"slices of noise, {sampler.__name__}, n={n}", f"{share:.3f}", "", "", "<= 0.05", share <= limit)


async def power(_bench: Bench) -> AsyncIterator[Row]:
    """With `items_needed` items, the share of comparisons that show the difference, beside scores that tell nothing."""
    for name, differences in EXACT.items():
        for tests in (1, 5, 20):
            rng = np.random.default_rng(3)
            needed = _items_needed(differences, tests)
            shown = sum(
                _compare([list(rng.choice(differences, needed)), *_noise(rng, needed, tests - 1)]).verdict
                in ("better", "worse")
                for _ in range(COMPARISONS)
            )
            share = shown / COMPARISONS
            case = f"power, {name}, {tests} tests, {needed} items"
            yield Row(case, f"{share:.2f}", "", "", "0.8", share >= 0.68)


def _items_needed(differences: list[float], tests: int) -> int:
    """As a small run tells it that happens to be like the truth."""
    rng = np.random.default_rng(4)
    line = _compare([differences, *_noise(rng, len(differences), tests - 1)])
    assert line.items_needed is not None, line
    return line.items_needed


def _noise(rng: np.random.Generator, n: int, scores: int) -> list[list[float]]:
    return [list(rng.choice([-1.0, 0.0, 1.0], n, p=[0.2, 0.6, 0.2])) for _ in range(scores)]


def _compare(differences: list[list[float]]) -> ScoreComparison:
    """Compare two runs that differ so, per score; the first one's line."""
    names = [f"score-{index:02}" for index in range(len(differences))]
    baseline, run = _runs(dict(zip(names, differences, strict=True)))
    line, *_ = compare_scores(pair_runs(baseline, run), [], names, None, None, Candidates(), {})
    return line


def _runs(differences: dict[str, list[float]]) -> tuple[ScoredRun, ScoredRun]:
    n = len(next(iter(differences.values())))
    first = [{name: float(max(0.0, -each[item])) for name, each in differences.items()} for item in range(n)]
    second = [{name: float(max(0.0, each[item])) for name, each in differences.items()} for item in range(n)]
    return run_of(first, name="old"), run_of(second, name="new")
