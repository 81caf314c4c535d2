"""A thousand drawn schedules of faults, and passing wrong answers of every kind; each takes long, so only if named."""

import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lfexp_mcp.services.workspace import open_workspace
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.faults.proxy import Fault, FaultProxy, Request, no_faults
from tests.faults.schedules import EVALUATORS, ITEMS, TASK, Schedule, Simulation
from tests.faults.wrong_answers import WRONG_ANSWERS
from tests.worker.scene import Scene

COUNT_VARIABLE = "LFEXP_TEST_SCHEDULES"
"""How many schedules, or kinds of wrong answers, to play instead of all."""
FIRST_VARIABLE = "LFEXP_TEST_FIRST_SEED"
SCHEDULES = 1000
SECONDS = (4.0, 15.0)
ANSWERED_ITEMS = 300


def _count(most: int) -> int:
    return min(int(os.environ.get(COUNT_VARIABLE, most)), most)


async def schedules(bench: Bench) -> AsyncIterator[Row]:
    """Schedules from a first seed on; each that fails is printed with its seed."""
    first, count = int(os.environ.get(FIRST_VARIABLE, 0)), _count(SCHEDULES)
    failed: list[int] = []
    settings = bench.ws.settings.model_copy(update={"delivery_patience": 3.0, "visibility_delay": 0.0})
    with FaultProxy(bench.store.base_url) as proxy:
        through = settings.model_copy(update={"langfuse_url": proxy.url})
        async with open_workspace(through) as ws:
            scene = Scene(ws, bench.folder / "schedules")
            await scene.fill(ITEMS)
            simulation = Simulation(scene, bench.ws, proxy, bench.folder / "store")
            for seed in range(first, first + count):
                try:
                    await simulation.play(Schedule.draw(seed))
                except (AssertionError, TimeoutError) as error:
                    failed.append(seed)
                    sys.stderr.write(f"seed {seed}: {error!r}\n")
    held = count - len(failed)
    yield Row(
        f"{count} schedules of faults: whole", str(held), f"failed seeds: {failed[:10]}", "", str(count), not failed
    )


async def answers(bench: Bench) -> AsyncIterator[Row]:
    """Every kind of wrong answer to all writes, for 4 and for 15 seconds."""
    names = list(WRONG_ANSWERS)[: _count(len(WRONG_ANSWERS))]
    settings = bench.ws.settings.model_copy(update={"visibility_delay": 0.0})
    with FaultProxy(bench.store.base_url) as proxy:
        through = settings.model_copy(update={"langfuse_url": proxy.url})
        async with open_workspace(through) as ws:
            scene = Scene(ws, bench.folder / "answers")
            await scene.fill(ANSWERED_ITEMS)
            task, _ = scene.script(TASK), scene.script(EVALUATORS, "ev.py")
            for seconds in SECONDS:
                whole = [await _is_whole(scene, bench, proxy, task, name, seconds) for name in names]
                lost = [name for name, is_whole in zip(names, whole, strict=True) if not is_whole]
                case = f"{len(names)} kinds of wrong answers for {seconds:g} s: whole"
                yield Row(case, str(sum(whole)), f"not whole: {lost[:3]}", "", str(len(names)), not lost)


async def _is_whole(scene: Scene, bench: Bench, proxy: FaultProxy, task: Path, name: str, seconds: float) -> bool:
    scene.run_name = f"{name} for {seconds:g}"
    begun: list[float] = []

    def answer(request: Request) -> Fault | None:
        if not request.writes:
            return None
        begun.append(time.monotonic())
        return WRONG_ANSWERS[name] if begun[-1] - begun[0] < seconds else None

    proxy.faults = answer
    arguments: dict[str, Any] = {"evaluator_script": task.with_name("ev.py"), "max_concurrency": 20}
    found = await scene.run(task, **arguments)
    proxy.faults = no_faults
    if found.status != "completed":
        found = await scene.run(task, resume=True, **arguments)
    items = await bench.gateway.experiments.results(found.experiment_id or "")
    once = Counter(item.item_id for item in items)
    scores = Counter(itertools.chain.from_iterable((score.name for score in item.scores) for item in items))
    return (
        (found.status, found.undelivered) == ("completed", 0)
        and set(once.values()) == {1}
        and len(once) == ANSWERED_ITEMS
        and scores == {"exact": ANSWERED_ITEMS, "length": ANSWERED_ITEMS}
    )
