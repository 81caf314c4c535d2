"""Runs on a disk that is full, or whose room comes and goes."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from lfexp_mcp.errors import StateError
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.faults.small_disk import TmpfsDisk
from tests.waiting import until
from tests.worker.scene import Scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.skipif(not TmpfsDisk.is_possible(), reason="Only root on Linux can mount a disk of a given size"),
]

ITEMS = 25
TASK = """
    import time

    def task(*, item, **kwargs):
        with open(__file__ + ".calls", "a") as calls:
            calls.write(item.id + "\\n")
        time.sleep(0.01)
        return item.input.upper() + "x" * 3000
"""
EXACT = "def exact(*, output, expected_output, **k):\n    return float(output.startswith(expected_output))\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[TmpfsDisk]:
    with TmpfsDisk(tmp_path / "disk", size_bytes=2_000_000) as mounted:
        yield mounted


@pytest.fixture
async def scene(settings: Settings, disk: TmpfsDisk, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_workspace(settings.model_copy(update={"home": disk.path / "home"})) as opened:
        yield Scene(opened, tmp_path / "scripts")


async def come_and_go(scene: Scene, disk: TmpfsDisk, seed: int) -> None:
    """Run while room comes and goes, then resume with room: the run is whole, and nothing that succeeded ran again."""
    moments = random.Random(seed)
    task, evaluators = scene.script(TASK), scene.script(EXACT, "ev.py")
    calls = scene.folder / "task.py.calls"
    calls.unlink(missing_ok=True)
    folder = await scene.begin(task, evaluator_script=evaluators, max_concurrency=3)
    while folder.is_running():
        disk.fill(moments.choice([0, 0, 4096, 8192, 65_536]))
        await anyio.sleep(moments.uniform(0.01, 0.3))
        disk.make_room()
        await anyio.sleep(moments.uniform(0.01, 0.2))
    await until(lambda: not folder.worker.is_locked())
    done = {item_id for _, item_id in folder.read_state().ended}
    before = Counter(calls.read_text().split()) if calls.exists() else Counter()
    answer = await scene.run(task, evaluator_script=evaluators, resume=True)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0), (seed, answer.warnings)
    again = Counter(calls.read_text().split()) - before
    assert not again.keys() & done, seed
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert Counter(item.item_id for item in items) == {scene.item_id(number): 1 for number in range(ITEMS)}, seed
    assert [[score.value for score in item.scores] for item in items] == [[1.0]] * ITEMS, seed


@pytest.mark.parametrize("seed", range(3))
async def test_a_run_is_whole_after_a_resume_though_room_came_and_went(
    scene: Scene, disk: TmpfsDisk, seed: int
) -> None:
    await scene.fill(ITEMS)
    await come_and_go(scene, disk, seed)


async def test_a_disk_that_is_full_at_the_start_is_named_and_the_run_begins_when_there_is_room(
    scene: Scene, disk: TmpfsDisk
) -> None:
    await scene.fill(ITEMS)
    task = scene.script(TASK)
    disk.fill()
    with pytest.raises(StateError, match="No space left on device"):
        await scene.run(task)
    disk.make_room()
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded) == ("completed", ITEMS)
