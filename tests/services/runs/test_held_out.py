"""Runs that went over items which are held out now: read from the journal, from Langfuse, and gone on with."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import Holdout, Progress
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.held_out import LEFT_OUT
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import stop_store
from tests.gateway.test_holdout import overwrite
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 12
HOLDOUT = Holdout(0.5, "salt")
TASK = """
def task(*, item, **kwargs):
    open({log!r}, "a").write(item.input + "\\n")
    print(item.input)
    if {fails}:
        raise ValueError(item.input)
    return item.input
"""
EVALUATORS = """
def total(*, item_results, **kwargs):
    return {"name": "total", "value": float(len(item_results))}

RUN_EVALUATORS = [total]
"""


@dataclass
class Seen:
    """A scene in which a run went over all items before some were held out."""

    scene: Scene
    open_ids: set[str]
    log: Path

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


async def make(scene: Scene, fails: str = "False") -> Seen:
    await scene.fill(ITEMS)
    log = scene.folder / "calls"
    task = scene.script(TASK.format(log=str(log), fails=fails))
    await scene.run(task, evaluator_script=scene.script(EVALUATORS, "evaluators.py"))
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=HOLDOUT)
    ids = {scene.item_id(number) for number in range(ITEMS)}
    return Seen(scene, {item_id for item_id in ids if not HOLDOUT.holds(item_id)}, log)


async def test_a_run_from_before_the_holdout_is_a_whole_run_of_the_open_items_on_every_machine(
    scene: Scene, elsewhere: Workspace
) -> None:
    seen = await make(scene)
    for ws in (scene.ws, elsewhere):
        record = await read_run(ws, scene.dataset, scene.run_name)
        assert {item.item_id for item in record.items} == seen.open_ids
        assert (record.status, record.total_items, record.leaves_out) == ("completed", len(seen.open_ids), True)
        assert record.plan is not None
        assert record.plan.items == len(seen.open_ids)
        answer = await get_run(ws, scene.dataset, scene.run_name)
        assert (answer.succeeded, answer.pending, answer.run_scores, answer.log) == (len(seen.open_ids), 0, {}, None)
        assert LEFT_OUT in answer.warnings
        (listed,) = (await list_runs(ws, scene.dataset)).runs
        assert (listed.status, listed.results, listed.planned) == ("completed", None, None)


async def test_a_holdout_hides_nothing_of_a_run_that_began_with_it(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(ITEMS)
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=HOLDOUT)
    script = scene.script("def task(*, item, **kwargs):\n    print(item.input)\n    return item.input")
    answer = await scene.run(script, evaluator_script=scene.script(EVALUATORS, "evaluators.py"))
    count = len(await scene.ws.gateway.datasets.items(scene.dataset))
    assert (answer.total_items, answer.succeeded, answer.run_scores) == (count, count, {"total": count})
    assert answer.log is not None
    for ws in (scene.ws, elsewhere):
        record = await read_run(ws, scene.dataset, scene.run_name)
        assert (record.total_items, record.leaves_out, len(record.run_scores)) == (count, False, 1)
        (listed,) = (await list_runs(ws, scene.dataset)).runs
        assert (listed.results, listed.planned) == (count, count)


async def test_a_resume_runs_no_item_that_is_held_out_now(scene: Scene) -> None:
    seen = await make(scene, fails="True")
    assert len(seen.calls()) == ITEMS
    progress: list[Progress] = []

    async def note(one: Progress) -> None:
        progress.append(one)

    answer = await scene.run(None, resume=True, on_progress=note)
    assert (answer.total_items, answer.failed) == (len(seen.open_ids), len(seen.open_ids))
    assert {(each.done, each.total) for each in progress if each.total} <= {(0, len(seen.open_ids)), (0, ITEMS)}
    assert len(seen.calls()) == ITEMS + len(seen.open_ids)


async def test_a_resume_on_another_machine_runs_none_either(scene: Scene, elsewhere: Workspace) -> None:
    seen = await make(scene, fails="True")
    there = Scene(elsewhere, scene.folder, scene.dataset)
    answer = await there.run(scene.folder / "task.py", resume=True)
    assert (answer.total_items, answer.failed) == (len(seen.open_ids), len(seen.open_ids))
    assert len(seen.calls()) == ITEMS + len(seen.open_ids)
    record = await read_run(scene.ws, scene.dataset, scene.run_name)
    assert {item.item_id for item in record.items} == seen.open_ids


async def test_a_running_run_from_before_the_holdout_tells_of_the_open_items_alone(
    settings: Settings, tmp_path: Path
) -> None:
    async with open_workspace(settings.model_copy(update={"cancel_grace": 0.0})) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        await scene.fill(ITEMS)
        slow = scene.script("import time\n\ndef task(*, item, **kwargs):\n    time.sleep(60)")
        await scene.begin(slow, max_concurrency=ITEMS)
        await ws.gateway.datasets.upsert(scene.dataset, holdout=HOLDOUT)
        count = len(await ws.gateway.datasets.items(scene.dataset))
        running = await get_run(ws, scene.dataset, scene.run_name)
        assert (running.status, running.total_items, running.pending) == ("running", count, count)
        assert running.progress is None
        cancelled = await cancel_run(ws, scene.dataset, scene.run_name)
        assert (cancelled.status, cancelled.total_items) == ("cancelled", count)
        assert not [warning for warning in cancelled.warnings if scene.dataset in warning]


async def test_while_langfuse_is_away_the_holdout_that_was_seen_last_counts(
    own_store: Settings, tmp_path: Path
) -> None:
    async with open_workspace(own_store) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        seen = await make(scene)
        stop_store(tmp_path / "store")
        record = await read_run(ws, scene.dataset, scene.run_name)
        assert {item.item_id for item in record.items} == seen.open_ids


async def test_a_run_that_began_with_a_holdout_which_is_gone_is_not_read(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(ITEMS)
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=HOLDOUT)
    await scene.run(scene.script("def task(*, item, **kwargs):\n    return item.input"))
    await overwrite(scene.ws, scene.dataset, {"owner": "x"})
    for ws in (scene.ws, elsewhere):
        with pytest.raises(UsageError, match=f"{scene.dataset}.* holdout"):
            await read_run(ws, scene.dataset, scene.run_name)
