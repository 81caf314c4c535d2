"""How fast runs are, beside the SDK's own on the same store."""

import time
from collections.abc import AsyncIterator
from statistics import median

from tests.benchmarks.runners import Bench, Figures
from tests.benchmarks.scripts import EMPTY_EVALUATOR, EMPTY_TASK, SLEEPING_TASK, THREE_SLEEPING_EVALUATORS
from tests.benchmarks.table import Row

ROUNDS = 3
MANY_ROUNDS = 9
"""Where a few hundredths of a second decide, by which calls differ from one to the next."""
CALL_LIMIT = 1.3
"""What a whole call may take, in floors of its items."""


async def sleeping(bench: Bench) -> AsyncIterator[Row]:
    """200 items of 50 ms, 20 at once."""
    dataset, task = await bench.dataset(200), bench.script("sleeping", SLEEPING_TASK)
    ours, in_a_row, paces = [], [], []
    for _ in range(MANY_ROUNDS):
        ours.append(await bench.run("our_run", dataset, task))
        in_a_row.append(await bench.run("our_run", dataset, task, calls=2))
        paces.append(_pace())
    cold = await bench.run("our_run", dataset, task, spares=False)
    sdk = await bench.run("sdk_run", dataset, task)
    execution, call = median(run.execution for run in ours), median(run.seconds for run in ours)
    yield _beside_floor("200 x 50 ms sync: execution", execution, 0.5, 1.15)
    yield Row(
        "200 x 50 ms sync: whole call",
        f"{call:.2f} s",
        f"SDK {sdk.seconds:.2f} s",
        f"{sdk.seconds / call:.1f} x faster",
        ">= 8 x",
        sdk.seconds / call >= 8,
    )
    yield _beside_floor("200 x 50 ms sync: whole call", call, 0.5, CALL_LIMIT)
    second = median(run.seconds for run in in_a_row)
    yield _beside_floor("the second of two such calls in a row", second, 0.5, CALL_LIMIT)
    yield Row(
        "the same without a spare worker",
        f"{cold.seconds:.2f} s",
        f"SDK {sdk.seconds:.2f} s",
        f"{sdk.seconds / cold.seconds:.1f} x faster",
        ">= 8 x",
        sdk.seconds / cold.seconds >= 8,
    )
    yield Row("what the spare worker gains", f"{cold.seconds - call:.2f} s a run")
    yield Row("this machine: a million additions", f"{median(paces) * 1000:.0f} ms", f"{min(paces) * 1000:.0f} at best")


async def evaluated(bench: Bench) -> AsyncIterator[Row]:
    """The same with three evaluators of 50 ms."""
    dataset, task = await bench.dataset(200), bench.script("sleeping", SLEEPING_TASK)
    evaluators = bench.script("three", THREE_SLEEPING_EVALUATORS)
    ours = [await bench.run("our_run", dataset, task, evaluators) for _ in range(ROUNDS)]
    sdk = await bench.run("sdk_run", dataset, task, evaluators)
    execution = median(run.execution for run in ours)
    yield _beside_floor("200 x 50 ms + 3 evaluators of 50 ms: execution", execution, 1.0, 1.25)
    call = median(run.seconds for run in ours)
    yield Row(
        "200 x 50 ms + 3 evaluators: whole call",
        f"{call:.2f} s",
        f"SDK {sdk.seconds:.2f} s",
        f"{sdk.seconds / call:.1f} x faster",
    )


async def sweep(bench: Bench) -> AsyncIterator[Row]:
    """5 variants of 100 items of 50 ms, 20 at once in all."""
    dataset, task = await bench.dataset(100), bench.script("sleeping", SLEEPING_TASK)
    ours = [await bench.run("our_run", dataset, task, variants=5) for _ in range(ROUNDS)]
    execution = median(run.execution for run in ours)
    yield _beside_floor("5 variants x 100 x 50 ms: execution", execution, 1.25, 1.2)
    yield Row("5 variants x 100 x 50 ms: whole call", f"{median(run.seconds for run in ours):.2f} s")


async def overhead(bench: Bench) -> AsyncIterator[Row]:
    """1,000 empty items with one empty evaluator, and 10,000."""
    task, evaluators = bench.script("empty", EMPTY_TASK), bench.script("nothing", EMPTY_EVALUATOR)
    dataset = await bench.dataset(1000)
    ours = [await bench.run("our_run", dataset, task, evaluators) for _ in range(ROUNDS)]
    sdk = [await bench.run("sdk_run", dataset, task, evaluators) for _ in range(ROUNDS)]
    mine, theirs = median(run.seconds for run in ours), median(run.seconds for run in sdk)
    yield Row(
        "1,000 empty items + evaluator: whole call",
        f"{mine:.2f} s",
        f"SDK {theirs:.2f} s",
        f"{mine / theirs:.2f}",
        "<= 1",
        mine <= theirs,
    )
    yield _memory("1,000 empty items", ours[0], sdk[0])
    large = await bench.dataset(10_000)
    many = await bench.run("our_run", large, task, evaluators)
    each, before = many.execution / 10_000, median(run.execution for run in ours) / 1000
    yield Row(
        "10,000 empty items: time per item",
        f"{each * 1000:.2f} ms",
        f"at 1,000: {before * 1000:.2f} ms",
        f"{each / before:.2f}",
        "<= 1.2",
        each / before <= 1.2,
    )
    sdk_many = await bench.run("sdk_run", large, task, evaluators)
    yield _memory("10,000 empty items", many, sdk_many)


def _pace() -> float:
    """Return the seconds of a million additions, which tell figures of a busy machine from those of an idle one."""
    begun, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return time.perf_counter() - begun


def _beside_floor(case: str, seconds: float, floor: float, limit: float) -> Row:
    ratio = seconds / floor
    return Row(case, f"{seconds:.3f} s", f"floor {floor:.1f} s", f"{ratio:.2f}", f"<= {limit}", ratio <= limit)


def _memory(case: str, ours: Figures, sdk: Figures) -> Row:
    return Row(f"{case}: peak memory", f"{ours.memory:.0f} MB", f"SDK {sdk.memory:.0f} MB")
