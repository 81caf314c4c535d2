"""A plain Ray program that calls a task on a cluster, in a process of its own; prints its figures as JSON.

It is how a person would do it without us: one async actor per node, results collected here. See `runners`.
"""

import asyncio
import json
import runpy
import sys
import time
from types import SimpleNamespace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Caller:
    """Calls the task, on a node."""

    def __init__(self, task: Any) -> None:  # noqa: ANN401 - whatever the script defines
        self._task = task

    async def call(self, text: str) -> tuple[float, Any, float]:
        """Return the task's output, between the times before and after it."""
        began = time.time()
        output = await self._task(item=SimpleNamespace(input=text))
        return began, output, time.time()


async def collect(actors: list[Any], texts: list[str], slots: int) -> list[tuple[float, Any, float]]:
    """Call the task on every text, so many at once per actor."""
    left, results = iter(texts), []

    async def keep_busy(actor: Any) -> None:  # noqa: ANN401 - Ray's handles are untyped
        for text in left:
            results.append(await actor.call.remote(text))

    await asyncio.gather(*(keep_busy(actor) for actor in actors for _ in range(slots)))
    return results


def main() -> None:
    """Read the order from the arguments."""
    order = json.loads(sys.argv[1])
    environment = {"working_dir": order["working_dir"]} if order["working_dir"] else None
    ray.init(address=order["address"], runtime_env=environment, log_to_driver=False, logging_level="ERROR")
    caller: Any = ray.remote(Caller)
    task = runpy.run_path(order["task"])["task"]
    actors = [
        caller.options(
            num_cpus=0,
            max_concurrency=order["slots"],
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(task)
        for node in ray.nodes()
    ]
    results = asyncio.run(collect(actors, [f"input {number}" for number in range(order["count"])], order["slots"]))
    figures = {
        "seconds": time.time() - order["begun"],
        "first": min(began for began, _, _ in results) - order["begun"],
        "count": len(results),
    }
    sys.stdout.write(json.dumps(figures))


main()
