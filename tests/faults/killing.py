"""A run whose worker is killed again and again."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.runs.killing import kill_process_tree
from lfexp_mcp.services.runs.follower import wait_for_run
from tests.waiting import until
from tests.worker.scene import Scene

COUNTED_TASK = """
    import os, time

    CALLS = os.open(__file__ + ".calls", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def task(*, item, **kwargs):
        os.write(CALLS, (item.id + "\\n").encode())
        time.sleep(0.04)
        return item.input.upper()
"""
EXACT = "def exact(*, output, expected_output, **k):\n    return float(output == expected_output)\n"


@dataclass(frozen=True)
class Survival:
    """What came of it."""

    answer: RunAnswer
    kills: int
    calls: Counter[str]
    """How often the task was called, per item; counted by the task itself."""
    in_flight: Counter[str]
    """How often each item was begun and not journaled when the worker was killed."""
    most_in_flight: int

    @property
    def called_again(self) -> Counter[str]:
        """Calls beyond the first, per item."""
        return Counter({item_id: count - 1 for item_id, count in self.calls.items() if count > 1})


async def survive_kills(scene: Scene, kills: int, max_concurrency: int, longest: float) -> Survival:
    """Run the scene's dataset, kill the worker at random moments, resume after each, and then let it end."""
    task, evaluators = scene.script(COUNTED_TASK), scene.script(EXACT, "ev.py")
    arguments: dict[str, Any] = {"evaluator_script": evaluators, "max_concurrency": max_concurrency}
    moments = random.Random(20)
    folder = await scene.run_folder()
    in_flight: Counter[str] = Counter()
    most = done = 0
    for _ in range(kills):
        await scene.begin(task, resume=done > 0, **arguments)
        await wait_for_run(scene.ws, scene.dataset, scene.run_name, moments.uniform(0.02, longest))
        await until(lambda: bool(folder.read_state().running) or not folder.is_running())
        if folder.status() == "completed":
            break
        pid = folder.worker.pid
        if pid is not None:
            await anyio.to_thread.run_sync(kill_process_tree, pid)
        await until(lambda: not folder.worker.is_locked())
        done += 1
        at_work = folder.read_state().running
        most = max(most, len(at_work))
        in_flight.update(item_id for _, item_id in at_work)
    answer = await scene.run(task, resume=True, **arguments)
    calls = Counter((scene.folder / "task.py.calls").read_text(encoding="utf-8").split())
    return Survival(answer, done, calls, in_flight, most)
