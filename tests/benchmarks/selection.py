"""What a whole loop of trying variants promises: equal ones are hardly ever called better, whatever the baseline."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import numpy as np

from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.services.comparison.candidates import Candidate, Candidates
from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.comparison.score_comparison import compare_scores
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace
from tests.benchmarks.runners import Bench
from tests.benchmarks.stored import BEGUN, CHECK, JUDGE, SCORE, StoredLoop, Values, run_name
from tests.benchmarks.table import Row
from tests.statistics.simulated import run_of

VARIANTS = 50
LOOPS = 300
STORED_LOOPS = 100
ASK_ALL = 25
"""Of the loops in the store, one in so many asks about all variants, whatever they look like."""
SURELY_NOT = 1.0
"""A paired z below this, p 0.3, is not asked about: no verdict is `better` there."""

Sampler = Callable[[np.random.Generator, int, int], Values]
Baseline = Callable[[Values, int], int]
"""From the values of all runs and the place of one to the place of the run that it is compared with."""


def pass_fail(rng: np.random.Generator, runs: int, items: int) -> Values:
    """Equal runs that pass items of different difficulty."""
    return np.asarray(rng.random((runs, items)) < rng.beta(2, 1, items), dtype=np.float64)


def judged(rng: np.random.Generator, runs: int, items: int) -> Values:
    """Equal runs that a judge gives tenths, mostly high ones."""
    quality = rng.beta(4, 1.5, items) + rng.normal(0, 0.15, (runs, items))
    return np.asarray(np.round(np.clip(quality, 0, 1), 1), dtype=np.float64)


def first(_values: Values, _run: int) -> int:
    """Keep the first run as the baseline."""
    return 0


def newest(_values: Values, run: int) -> int:
    """Set the baseline to the run before, each time."""
    return run - 1


def best(values: Values, run: int) -> int:
    """Set the baseline to the run that looks best so far."""
    return int(values[:run].mean(axis=1).argmax())


def lowest(values: Values, run: int) -> int:
    """Set the baseline to the run that looks worst so far, as nobody should."""
    return int(values[:run].mean(axis=1).argmin())


async def selection(bench: Bench, stored: int = STORED_LOOPS) -> AsyncIterator[Row]:
    """Of loops over 50 equal variants, the share that is told `better` at least once.

    Args:
        bench: The store.
        stored: Loops of each kind that go through it; twice as many at 100 items.
    """
    for sampler in (pass_fail, judged):
        for items in (100, 200, 300):
            yield await _stored(bench, sampler, items, stored * (2 if items == 100 else 1))
    for sampler in (pass_fail, judged):
        for items in (100, 200, 300):
            for baseline in (first, newest, best, lowest):
                yield _row(sampler, items, baseline, LOOPS)


def _row(sampler: Sampler, items: int, baseline: Baseline, loops: int) -> Row:
    share, alone = told_better(sampler, items, baseline, loops)
    case = f"{sampler.__name__}, {items} items, baseline {baseline.__name__}, {loops} loops"
    return Row(
        case,
        f"{share:.3f} +-{error_of(share, loops):.3f}",
        f"unadjusted {alone:.2f}",
        "",
        "<= 0.05",
        share <= limit_of(loops),
    )


def told_better(sampler: Sampler, items: int, baseline: Baseline, loops: int) -> tuple[float, float]:
    """Of so many loops over equal variants, the share that is told `better`, and the share that would be unadjusted."""
    rng = np.random.default_rng(41)
    told = alone = 0
    for _ in range(loops):
        lines = list(_promising(sampler(rng, VARIANTS + 1, items), baseline))
        told += any(line.verdict == "better" for line in lines)
        alone += any(line.p is not None and line.p < 0.05 for line in lines)
    return told / loops, alone / loops


def limit_of(loops: int) -> float:
    """5%, and three of the sampling errors that so many loops have."""
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / loops)


def error_of(share: float, loops: int) -> float:
    """The standard error of a share, at least that of one loop in so many."""
    share = max(share, 1 / loops)
    return math.sqrt(share * (1 - share) / loops)


def _promising(values: Values, baseline: Baseline) -> Iterator[ScoreComparison]:
    """Compare each variant that looks better than the baseline, as `compare_runs` does."""
    listed = Candidates(tuple(Candidate(BEGUN + timedelta(minutes=run), run_name(run)) for run in range(len(values))))
    home = _scored(values, 0)
    scored: dict[int, ScoredRun] = {0: home}
    for run in range(1, len(values)):
        against = baseline(values, run)
        differences = values[run] - values[against]
        if differences.sum() < SURELY_NOT * (differences @ differences) ** 0.5:
            continue
        for each in (run, against):
            scored[each] = scored.get(each) or run_of(
                [{SCORE: value} for value in values[each].tolist()], name=run_name(each)
            )
        (line,) = compare_scores(
            pair_runs(scored[against], scored[run]), [], [SCORE], None, None, listed, {run_name(0): home}
        )
        yield line


def _scored(values: Values, run: int) -> ScoredRun:
    return run_of([{SCORE: value} for value in values[run].tolist()], name=run_name(run))


async def _stored(bench: Bench, sampler: Sampler, items: int, loops: int) -> Row:
    """The same from runs in the store, through `compare_runs`."""
    name = f"selection-{sampler.__name__}-{items}"
    told = 0
    async for lines in stored_loops(bench.ws, name, sampler, items, VARIANTS, loops):
        told += any(line.verdict == "better" for line in lines)
    share = told / loops
    case = f"{sampler.__name__}, {items} items, baseline first, {loops} loops in the store"
    return Row(case, f"{share:.3f} +-{error_of(share, loops):.3f}", "", "", "<= 0.05", share <= limit_of(loops))


async def stored_loops(
    ws: Workspace, dataset: str, sampler: Sampler, items: int, variants: int, loops: int, seed: int = 42
) -> AsyncIterator[list[ScoreComparison]]:
    """Loops over equal variants in a store: what `compare_runs` says of each variant against the first run.

    In the first loop it is asked after each variant, and then about all, where it has to say the same. Later on it is
    asked about those that look better, and in every 25th loop about all. What it says of those that look better has
    to be what `compare_scores` says of the same values, and the others must not be better.
    """
    rng, loop = np.random.default_rng(seed), None
    for number in range(loops):
        values = sampler(rng, variants + 1, items)
        expected = {line.run: line for line in _promising(values, first)}
        every = range(1, variants + 1)
        if loop is None:
            maker = CHECK if sampler is pass_fail else JUDGE
            loop, one_by_one = await StoredLoop.ask_one_by_one(ws, dataset, maker, values)
            lines = await loop.ask(every)
            assert lines == one_by_one
        else:
            await loop.score(values)
            lines = await loop.ask([run for run in every if number % ASK_ALL == 0 or run_name(run) in expected])
        for line in lines:
            known = expected.pop(line.run, None)
            if known is None:
                assert line.verdict != "better"
            else:
                assert (line.verdict, line.delta, line.p) == (known.verdict, known.delta, known.p)
                assert (line.p_adjusted, line.interval) == (known.p_adjusted, known.interval)
        assert not expected
        yield lines
