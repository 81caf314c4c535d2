"""What a whole loop of trying variants promises: equal ones are hardly ever called better, whatever the baseline."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.comparison.candidates import Candidate, Candidates
from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.comparison.score_comparison import compare_scores
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.scored_run import ScoredRun
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.services.recording import Recorded, make_dataset, record_run
from tests.statistics.simulated import run_of

VARIANTS = 50
LOOPS = 300
STORED_LOOPS = 10
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
SURELY_NOT = 1.0
"""A paired z below this, p 0.3, is not asked about: no verdict is `better` there."""

Values = npt.NDArray[np.float64]
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


async def selection(bench: Bench) -> AsyncIterator[Row]:
    """Of loops over 50 equal variants, the share that is told `better` at least once."""
    for sampler in (pass_fail, judged):
        for items in (100, 200, 300):
            for baseline in (first, newest, best, lowest):
                yield _row(sampler, items, baseline, LOOPS)
    for sampler in (pass_fail, judged):
        yield await _stored(bench, sampler)


def _row(sampler: Sampler, items: int, baseline: Baseline, loops: int) -> Row:
    share, alone = told_better(sampler, items, baseline, loops)
    case = f"{sampler.__name__}, {items} items, baseline {baseline.__name__}, {loops} loops"
    return Row(case, f"{share:.3f}", f"unadjusted {alone:.2f}", "", "<= 0.05", share <= limit_of(loops))


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


def _promising(values: Values, baseline: Baseline) -> Iterator[ScoreComparison]:
    """Compare each variant that looks better than the baseline, as `compare_runs` does."""
    listed = Candidates(tuple(Candidate(BEGUN + timedelta(minutes=run), _name(run)) for run in range(len(values))))
    home = _scored(values, 0)
    scored: dict[int, ScoredRun] = {0: home}
    for run in range(1, len(values)):
        against = baseline(values, run)
        differences = values[run] - values[against]
        if differences.sum() < SURELY_NOT * (differences @ differences) ** 0.5:
            continue
        for each in (run, against):
            scored[each] = scored.get(each) or run_of(
                [{"acc": value} for value in values[each].tolist()], name=_name(each)
            )
        ((line,),) = compare_scores(
            [pair_runs(scored[against], scored[run])], [[]], ["acc"], None, None, listed, {_name(0): home}
        )
        yield line


def _scored(values: Values, run: int) -> ScoredRun:
    return run_of([{"acc": value} for value in values[run].tolist()], name=_name(run))


def _name(run: int) -> str:
    return f"v{run:02}"


async def _stored(bench: Bench, sampler: Sampler) -> Row:
    """The same from runs in the store, asked one by one as they come."""
    rng, told, items = np.random.default_rng(42), 0, 100
    for loop in range(STORED_LOOPS):
        dataset = await make_dataset(bench.ws, f"selection-{sampler.__name__}-{loop}")
        values, is_told = sampler(rng, VARIANTS + 1, items), False
        ask = partial(CompareRequest, dataset=dataset.name)
        for run in range(VARIANTS + 1):
            results = [
                Recorded(f"item-{item}", scores={"acc": value}, started=BEGUN + timedelta(minutes=run))
                for item, value in enumerate(values[run].tolist())
            ]
            await record_run(bench.ws, dataset, _name(run), results)
            if run:
                (line,) = (await compare_runs(bench.ws, ask(runs=[_name(0), _name(run)]))).scores
                assert line.candidate == run
                is_told |= line.verdict == "better"
        told += is_told
    share = told / STORED_LOOPS
    case = f"{sampler.__name__}, {items} items, in the store, {STORED_LOOPS} loops"
    return Row(case, f"{share:.2f}", "", "", "<= 0.05", share <= limit_of(STORED_LOOPS))
