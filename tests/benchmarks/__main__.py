"""Prints the project's figures: `python -m tests.benchmarks [part ...]`, as `PARTS` and `LONG_PARTS` name them.

A part that simulates through the store takes the count of its repetitions: `selection=500`.
"""

import sys
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread

from tests.benchmarks import (
    confirmation,
    correction,
    cost,
    creating,
    drift,
    execution,
    faults,
    first_look,
    large,
    memory,
    on_ray,
    reading,
    schedules,
    selection,
    simulation,
    startup,
    stopping,
)
from tests.benchmarks.runners import Bench, open_bench
from tests.benchmarks.table import Row, show


async def start(_bench: Bench) -> AsyncIterator[Row]:
    """From the start of the server's process to its tools."""
    empty, ours = await anyio.to_thread.run_sync(startup.measure)
    ratio = ours / empty
    limit = f"<= {startup.LIMIT}"
    yield Row(
        "start to tools/list", f"{ours:.3f} s", f"empty {empty:.3f} s", f"{ratio:.2f}", limit, ratio <= startup.LIMIT
    )


PARTS: dict[str, Callable[..., AsyncIterator[Row]]] = {
    "start": start,
    "sleeping": execution.sleeping,
    "evaluated": execution.evaluated,
    "sweep": execution.sweep,
    "overhead": execution.overhead,
    "cost": cost.cost,
    "create": creating.create,
    "arrivals": faults.arrivals,
    "kills": faults.kills,
    "reading": reading.reading,
    "look": first_look.first_look,
    "coverage": simulation.coverage,
    "slices": simulation.slices,
    "power": simulation.power,
    "correction": correction.correction,
}
LONG_PARTS: dict[str, Callable[..., AsyncIterator[Row]]] = {
    "schedules": schedules.schedules,
    "answers": schedules.answers,
    "large": large.large,
    "memory": memory.memory,
    "ray": on_ray.ray,
    "ray_seconds": on_ray.ray_seconds,
    "selection": selection.selection,
    "stopping": stopping.stopping,
    "confirmation": confirmation.confirmation,
    "drift": drift.drift,
}
"""Measured only if named: they take minutes to hours."""


async def main(names: list[str]) -> None:
    """Measure the parts named, or all, and print one table."""
    rows: list[Row] = []
    async with open_bench() as bench:
        for part in names or PARTS:
            name, *count = part.split("=")
            sys.stderr.write(f"measuring {part} ...\n")
            async for row in (PARTS | LONG_PARTS)[name](bench, *map(int, count)):
                sys.stderr.write(f"{row.case}: {row.ours}\n")
                rows.append(row)
    show(rows)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
