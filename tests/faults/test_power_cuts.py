"""Power cuts on a file system that loses what was not synced."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from lfexp_mcp.runs.killing import kill_process_tree
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.faults.power import LoopDisk
from tests.faults.test_full_disk import EXACT, TASK
from tests.runs.records import read_record
from tests.waiting import until
from tests.worker.scene import Scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.skipif(not LoopDisk.is_possible(), reason="Only root on Linux with ext4 tools can mount a file"),
]

ITEMS = 40
SYNCED_WITHIN_S = 1.0
"""Far more than the tenth of a second that is promised, since the machine may be busy."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with LoopDisk(tmp_path / "disk", tmp_path / "images") as mounted:
        yield mounted


@pytest.fixture
async def scene(settings: Settings, disk: LoopDisk, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_workspace(settings.model_copy(update={"home": disk.path / "home"})) as opened:
        yield Scene(opened, tmp_path / "scripts")


@pytest.mark.parametrize("seed", range(3))
async def test_a_run_goes_on_after_a_power_cut_with_all_that_was_synced(
    scene: Scene, disk: LoopDisk, seed: int
) -> None:
    await scene.fill(ITEMS)
    task, evaluators = scene.script(TASK.replace("0.01", "0.1")), scene.script(EXACT, "ev.py")
    folder = await scene.begin(task, evaluator_script=evaluators, max_concurrency=2)
    enough = random.Random(seed).randint(2, 12)
    await until(lambda: len(folder.read_state().ended) >= enough)
    long_done = {item_id for _, item_id in folder.read_state().ended}
    await anyio.sleep(SYNCED_WITHIN_S)
    await anyio.to_thread.run_sync(disk.cut_power)
    pid = folder.worker.pid
    assert pid is not None
    await anyio.to_thread.run_sync(kill_process_tree, pid)
    await until(lambda: not folder.worker.is_locked())
    await anyio.to_thread.run_sync(disk.come_back)
    assert long_done <= {item_id for _, item_id in folder.read_state().ended}
    calls = scene.folder / "task.py.calls"
    before = Counter(calls.read_text().split())
    answer = await scene.run(task, evaluator_script=evaluators, resume=True)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    assert not (Counter(calls.read_text().split()) - before).keys() & long_done
    assert answer.experiment_id is not None
    items = await scene.ws.gateway.experiments.results(answer.experiment_id)
    assert Counter(item.item_id for item in items) == {scene.item_id(number): 1 for number in range(ITEMS)}
    assert [[score.value for score in item.scores] for item in items] == [[1.0]] * ITEMS


async def test_what_was_said_to_be_completed_is_whole_on_the_disk(scene: Scene, disk: LoopDisk) -> None:
    await scene.fill(3)
    answer = await scene.run(scene.script(TASK), evaluator_script=scene.script(EXACT, "ev.py"))
    assert answer.status == "completed"
    folder = await scene.run_folder()
    await until(lambda: not folder.worker.is_locked())
    await anyio.to_thread.run_sync(disk.cut_power)
    await anyio.to_thread.run_sync(disk.come_back)
    record = read_record(folder)
    assert (record.status, {item.status for item in record.items}) == ("completed", {"succeeded"})
    assert all(item.scores for item in record.items)
