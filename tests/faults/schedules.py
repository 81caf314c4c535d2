"""Schedules of faults drawn from a seed: processes, disk, store and network fail at drawn points of a run.

In the manner of FoundationDB's simulation (https://apple.github.io/foundationdb/testing.html), with real processes: the
seed draws what fails and at which point of the run's own progress, so that a failure can be tried again.
"""

import itertools
import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.killing import kill_process_tree
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.store.address import ANNOUNCEMENT
from lfexp_mcp.store.process import ensure_store
from tests.faults.proxy import Fault, FaultProxy, Judgement, Request, no_faults
from tests.faults.wrong_answers import WRONG_ANSWERS
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

ITEMS = 6
STEPS = 2
TASK = f"""
    import os, time
    from langfuse import get_client

    CALLS = os.open(__file__ + ".calls", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def task(*, item, **kwargs):
        os.write(CALLS, (item.id + "\\n").encode())
        for step in range({STEPS}):
            with get_client().start_as_current_observation(name="step", input=step):
                time.sleep(0.01)
        return item.input.upper()
"""
EVALUATORS = """
    def exact(*, output, expected_output, **kwargs):
        return float(output == expected_output)

    def length(*, output, **kwargs):
        return float(len(output))
"""
SPANS = {
    "experiment-item-run": 1,
    "experiment-item-task": 1,
    "step": STEPS,
    "experiment-item-evaluation": 1,
    "exact": 1,
    "length": 1,
}
AROUND_TASK = {"experiment-item-run": 1, "experiment-item-task": 1}

Blow = Literal["kill", "power", "store", "outbox"]
Network = Literal["none", "wrong", "closed", "forgotten", "slow", "gone"]


@dataclass(frozen=True)
class Stage:
    """One worker's share of the run, and what goes wrong in it."""

    after: int
    """Events of the journal, from where it stood, after which the blow comes."""
    blow: Blow
    """`power` also tears what was written last; `store` kills the store, `outbox` deletes what waits to be sent."""
    torn_bytes: int
    network: Network
    faulty_writes: int
    """Writes that the network spoils."""


@dataclass(frozen=True)
class Schedule:
    """What goes wrong in one run."""

    seed: int
    max_concurrency: int
    stages: tuple[Stage, ...]

    @classmethod
    def draw(cls, seed: int) -> "Schedule":
        """Draw one; the same seed draws the same."""
        drawn = random.Random(seed)
        stages = tuple(
            Stage(
                after=drawn.randint(0, 4 * ITEMS),
                blow=drawn.choice(("kill", "kill", "power", "store", "outbox")),
                torn_bytes=drawn.randint(1, 300),
                network=drawn.choice(("none", "wrong", "closed", "forgotten", "slow", "gone")),
                faulty_writes=drawn.randint(1, 6),
            )
            for _ in range(drawn.randint(1, 2))
        )
        return cls(seed, drawn.randint(1, 4), stages)

    @property
    def loses_spans(self) -> bool:
        """Whether spans that only the outbox had are gone: results and scores are made again, spans within are not."""
        return any(stage.blow in ("power", "outbox") for stage in self.stages)


@dataclass
class Simulation:
    """Where schedules are played: a store of their own, a proxy before it, a dataset."""

    scene: Scene
    """Reaches the store through the proxy."""
    direct: Workspace
    proxy: FaultProxy
    store_folder: Path

    async def play(self, schedule: Schedule) -> None:
        """Play a schedule, resume until the run is completed, and check that everything is there once.

        Raises:
            AssertionError: It is not; the text holds the schedule.
        """
        scene = self.scene
        scene.run_name = f"schedule-{schedule.seed}"
        scene.script(EVALUATORS, "ev.py")
        task = scene.script(TASK, f"task_{schedule.seed}.py")
        calls = task.with_name(f"{task.name}.calls")
        folder = await scene.run_folder()
        forbidden: set[str] = set()
        before: Counter[str] = Counter()
        for stage in schedule.stages:
            await self._live_through(stage, schedule, task, folder)
            again = _calls(calls) - before
            assert not again.keys() & forbidden, f"{again.keys() & forbidden} ran again after {schedule}"
            forbidden = {item_id for (_, item_id), each in folder.read_state().ended.items() if each.error is None}
            before = _calls(calls)
        answer = await self._resume(schedule, task, folder)
        again = _calls(calls) - before
        assert not again.keys() & forbidden, f"{again.keys() & forbidden} ran again after {schedule}"
        await self._check(schedule, answer)

    async def _live_through(self, stage: Stage, schedule: Schedule, task: Path, folder: RunFolder) -> None:
        self.proxy.faults = _spoil(stage, schedule.seed)
        begun = folder.has_started()
        lines, size = _lines(folder), _size(folder)
        await self._start(schedule, task, resume=begun)
        if stage.network == "gone":
            await anyio.to_thread.run_sync(self.proxy.go_away)
        await until(lambda: _lines(folder) >= lines + stage.after or not folder.is_running())
        if stage.blow == "store":
            await anyio.to_thread.run_sync(_kill_store, self.store_folder)
        elif (pid := folder.worker.pid) is not None and folder.worker.is_locked():
            await anyio.to_thread.run_sync(kill_process_tree, pid)
        if stage.network == "gone":
            await anyio.to_thread.run_sync(self.proxy.come_back)
        await until(lambda: not folder.worker.is_locked())
        self.proxy.faults = no_faults
        if stage.blow == "power":
            _tear(folder, size, stage.torn_bytes)
        if stage.blow == "outbox":
            shutil.rmtree(folder.outbox_path, ignore_errors=True)

    async def _start(self, schedule: Schedule, task: Path, *, resume: bool, wait_seconds: float = 0) -> RunAnswer:
        return await self.scene.run(
            task,
            evaluator_script=task.with_name("ev.py"),
            max_concurrency=schedule.max_concurrency,
            resume=resume,
            wait_seconds=wait_seconds,
        )

    async def _resume(self, schedule: Schedule, task: Path, folder: RunFolder) -> RunAnswer:
        answer = await self._start(schedule, task, resume=folder.has_started(), wait_seconds=PATIENCE_S)
        assert (answer.status, answer.undelivered) == ("completed", 0), f"{answer.warnings} after {schedule}"
        assert answer.succeeded == ITEMS, f"{answer.succeeded} of {ITEMS} after {schedule}"
        return answer

    async def _check(self, schedule: Schedule, answer: RunAnswer) -> None:
        gateway = self.direct.gateway
        assert answer.experiment_id is not None
        items = await gateway.experiments.results(answer.experiment_id)
        found = Counter(item.item_id for item in items)
        assert found == {self.scene.item_id(number): 1 for number in range(ITEMS)}, f"{found} after {schedule}"
        for item in items:
            scores = sorted(score.name for score in item.scores)
            assert scores == ["exact", "length"], f"{scores} of {item.item_id} after {schedule}"
            spans = Counter(span.name for span in await gateway.observations.find(trace_id=item.trace_id))
            # Spans that a torn or deleted outbox held are gone, but none is there twice.
            is_right = AROUND_TASK.items() <= spans.items() and spans <= Counter(SPANS)
            assert is_right if schedule.loses_spans else spans == SPANS, f"{spans} of {item.item_id} after {schedule}"


def _calls(path: Path) -> Counter[str]:
    return Counter(path.read_text(encoding="utf-8").split()) if path.exists() else Counter()


def _lines(folder: RunFolder) -> int:
    return folder.journal_path.read_bytes().count(b"\n") if folder.journal_path.exists() else 0


def _spoil(stage: Stage, seed: int) -> Judgement:
    """Spoil the first writes as the stage says."""
    wrong = random.Random(seed).sample(list(WRONG_ANSWERS.values()), stage.faulty_writes)
    faults: dict[Network, Callable[[], Fault | None]] = {
        "wrong": lambda: wrong.pop(),
        "closed": lambda: Fault(close=True),
        "forgotten": lambda: Fault(forget_answer=True),
        "slow": lambda: Fault(delay=0.2),
    }
    left = itertools.repeat(None, stage.faulty_writes)

    def judge(request: Request) -> Fault | None:
        make = faults.get(stage.network)
        if make is None or not request.writes or next(left, ...) is ...:
            return None
        return make()

    return judge


def _kill_store(folder: Path) -> None:
    """Kill the store, and start it again on what is on disk, where it was."""
    before = ensure_store(folder)
    os.kill(json.loads((folder / ANNOUNCEMENT).read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
    assert ensure_store(folder) == before


def _size(folder: RunFolder) -> int:
    return folder.journal_path.stat().st_size if folder.journal_path.exists() else 0


def _tear(folder: RunFolder, synced_bytes: int, torn_bytes: int) -> None:
    """Cut off the end of what was written last, as a power cut does within the tenth of a second between two syncs.

    Nothing of it has been sent by then, since spans are gathered for a second, and all is synced before a run's end.
    """
    if folder.read_state().executed:
        return
    if _size(folder) > synced_bytes:
        os.truncate(folder.journal_path, max(_size(folder) - torn_bytes, synced_bytes))
    newest = max(folder.outbox_path.glob("*.spans"), default=None)
    if newest is not None:
        os.truncate(newest, max(newest.stat().st_size - 3 * torn_bytes, 0))
