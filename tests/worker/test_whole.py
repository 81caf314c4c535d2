"""A real run, read on another machine: one with a folder of its own, on the same Langfuse."""

import anyio
import pytest

from lfexp_mcp.gateway import STATUS_SCORE_NAME
from lfexp_mcp.model import ScriptMaker
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UPPER = "def task(*, item, **kwargs):\n    return item.input.upper()\n"
HALF = """
    def exact(*, output, expected_output, **kwargs):
        if int(output.split()[1]) % 2:
            raise ValueError("cannot tell")
        return {"name": "match", "value": float(output == expected_output)}

    EVALUATORS = [exact]
"""


async def test_a_run_that_ended_is_whole_on_another_machine(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(4)
    answer = await scene.run(scene.script(UPPER), evaluator_script=scene.script(HALF, "checks.py"))
    assert (answer.status, answer.undelivered) == ("completed", 0)
    read = await get_run(elsewhere, scene.dataset, scene.run_name)
    assert (read.status, read.total_items, read.succeeded, read.run_scores) == ("completed", 4, 4, {})
    assert [(score.name, score.count, score.unscored) for score in read.scores] == [
        ("exact", 0, 2),
        ("match", 2, 0),
    ]
    record = await read_run(elsewhere, scene.dataset, scene.run_name)
    (maker,) = {score.maker for item in record.items for score in item.scores}
    assert isinstance(maker, ScriptMaker)
    assert (maker.function, maker.file) == ("exact", "checks.py")
    (entry,) = (await list_runs(elsewhere, scene.dataset)).runs
    assert (entry.status, entry.planned) == ("completed", 4)
    scores = await elsewhere.gateway.scores.find(trace_ids=[item.trace_id for item in record.items if item.trace_id])
    assert len(scores) == 2
    assert STATUS_SCORE_NAME not in {score.name for score in scores}


async def test_a_cancelled_run_is_cancelled_and_a_running_one_unknown_on_another_machine(
    scene: Scene, elsewhere: Workspace
) -> None:
    await scene.fill(12)
    gate = scene.folder / "go"
    # The first three calls return, whichever items they are for.
    slow = f"""
        import itertools, pathlib, time

        CALLS = itertools.count()

        def task(*, item, **kwargs):
            call = next(CALLS)
            while call > 2 and not pathlib.Path({str(gate)!r}).exists():
                time.sleep(0.01)
            return item.input
    """
    answer = await scene.run(scene.script(slow), max_concurrency=3, wait_seconds=0)
    folder = await scene.run_folder()
    await until(lambda: len(folder.read_state().ended) == 3)
    await _until_listed(elsewhere, scene, 3)
    assert answer.status == "running"
    assert (await get_run(elsewhere, scene.dataset, scene.run_name)).status == "unknown"
    await cancel_run(scene.ws, scene.dataset, scene.run_name)
    read = await get_run(elsewhere, scene.dataset, scene.run_name)
    assert (read.status, read.total_items, read.succeeded) == ("cancelled", 12, 3)
    assert (await list_runs(elsewhere, scene.dataset)).runs[0].status == "cancelled"
    gate.touch()
    answer = await scene.run(None, resume=True)
    assert answer.status == "completed"
    read = await get_run(elsewhere, scene.dataset, scene.run_name)
    assert (read.status, read.succeeded, read.pending) == ("completed", 12, 0)


async def _until_listed(ws: Workspace, scene: Scene, results: int) -> None:
    with anyio.fail_after(PATIENCE_S):
        while [run.results for run in (await list_runs(ws, scene.dataset)).runs] != [results]:  # noqa: ASYNC110
            await anyio.sleep(0.05)
