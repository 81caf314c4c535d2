"""What an empty item costs, in CPU of the process that runs it, beside other runners."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio

from tests.benchmarks.runners import Bench
from tests.benchmarks.scripts import EMPTY_EVALUATOR, EMPTY_TASK, LANGSMITH_RUN, PYDANTIC_EVALS_RUN
from tests.benchmarks.table import Row

ROUNDS = 3
FEW, MANY = 1000, 4000
LIMIT_MS = 0.8
OTHERS = {
    "langsmith": ("langsmith==0.15.1", LANGSMITH_RUN),
    "pydantic-evals": ("pydantic-evals==2.62.0", PYDANTIC_EVALS_RUN),
}
"""Installed into an environment of their own, which goes with the benchmark's folder."""

Measure = Callable[[int], Awaitable[float]]
"""Runs so many items, and returns the seconds of CPU that it took."""


async def cost(bench: Bench) -> AsyncIterator[Row]:
    """One more empty item with one evaluator, beside the SDK, which stores as much, and others, which store nothing."""
    task, evaluators = bench.script("empty", EMPTY_TASK), bench.script("nothing", EMPTY_EVALUATOR)

    async def stored(runner: str, items: int) -> float:
        return (await bench.run(runner, await bench.dataset(items), task, evaluators, spares=False)).cpu

    ours, sdk = await _each(lambda items: stored("our_run", items)), await _each(lambda items: stored("sdk_run", items))
    yield Row(
        "an empty item + evaluator: CPU, all stored",
        f"{ours:.2f} ms",
        f"SDK {sdk:.2f} ms",
        f"{ours / sdk:.2f}",
        f"<= {LIMIT_MS} ms",
        ours <= LIMIT_MS,
    )
    python = await _install(bench.folder / "others")
    if python is None:
        yield Row("the same, nothing stored", "", f"{' and '.join(OTHERS)} cannot be installed")
        return
    for name, (_, source) in OTHERS.items():

        async def in_memory(items: int, source: str = source) -> float:
            done = await anyio.run_process([str(python), "-c", source, str(items)])
            return float(done.stdout.split()[-1])

        other = await _each(in_memory)
        yield Row("the same, nothing stored", "", f"{name} {other:.2f} ms", f"{ours / other:.1f}")


async def _each(measure: Measure) -> float:
    """Milliseconds of an item beyond what a run costs whatever its size: of the rounds that were disturbed least."""
    few, many = [[await measure(items) for _ in range(ROUNDS)] for items in (FEW, MANY)]
    return (min(many) - min(few)) / (MANY - FEW) * 1000


async def _install(folder: Path) -> Path | None:
    """Install the other runners, and return their interpreter; None where the registry cannot be reached."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    requirements = [requirement for requirement, _ in OTHERS.values()]
    for command in ([sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", *requirements]):
        if (await anyio.run_process(command, check=False)).returncode:
            return None
    return python
