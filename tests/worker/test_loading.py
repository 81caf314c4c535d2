"""Scripts that take long to load, or do not survive it."""

import math
import sys
from pathlib import Path

import anyio
import pytest

from lfexp_mcp.errors import LfexpError, RunExistsError, ScriptError, WorkerError
from lfexp_mcp.model import Progress
from lfexp_mcp.services.experiments import run_experiment
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.runs.follower import wait_for_run
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GATED = """
    import os, time

    open(__file__ + ".loading", "w").close()
    while not os.path.exists(__file__ + ".go"):
        time.sleep(0.005)
    {then}

    def task(*, item, **kwargs):
        return 1
"""
GOOD = "def task(*, item, **kwargs):\n    return 1\n"


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls that wait for nothing give up the loading soon."""
    monkeypatch.setattr(run_experiment, "START_GRACE_S", 0.2)


def gated(scene: Scene, then: str = "") -> tuple[Path, Path]:
    """A task whose loading waits for a file; the task and that file."""
    task = scene.script(GATED.format(then=then), "gated.py")
    return task, task.with_name("gated.py.go")


async def until_loading(scene: Scene) -> None:
    """Wait until the worker loads the task."""
    await until((scene.folder / "gated.py.loading").exists)


async def run_without_waiting(scene: Scene, task: Path) -> None:
    """Start a run, and leave when it loads its scripts, as a client does that goes away."""
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await scene.run(task, wait_seconds=math.inf)

        group.start_soon(run)
        await until_loading(scene)
        group.cancel_scope.cancel()


async def test_a_call_does_not_wait_longer_for_the_loading_than_it_was_told_to(scene: Scene) -> None:
    await scene.fill(2)
    task, go = gated(scene)
    answer = await scene.run(task, wait_seconds=0)
    assert (answer.status, answer.succeeded) == ("running", 0)
    await until_loading(scene)
    assert "still being loaded" in (await scene.record()).warnings[0]
    with pytest.raises(RunExistsError) as refused:
        await scene.run(scene.script(GOOD))
    assert [step.tool for step in refused.value.next] == ["get_run", "cancel_run"]
    go.touch()
    await wait_for_run(scene.ws, scene.dataset, scene.run_name, PATIENCE_S)
    record = await scene.record()
    assert (record.status, record.warnings) == ("completed", ())


async def test_progress_is_told_while_the_scripts_are_loaded(scene: Scene) -> None:
    await scene.fill(2)
    task, go = gated(scene)
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        told.append(progress)
        go.touch()

    assert (await scene.run(task, on_progress=tell)).status == "completed"
    assert (told[0].done, told[0].total) == (0, 2)


async def test_a_caller_that_goes_away_while_the_scripts_are_loaded_leaves_the_run_at_work(scene: Scene) -> None:
    await scene.fill(2)
    task, go = gated(scene)
    await run_without_waiting(scene, task)
    go.touch()
    await wait_for_run(scene.ws, scene.dataset, scene.run_name, PATIENCE_S)
    assert (await scene.record()).status == "completed"


async def test_a_refusal_that_nobody_waited_for_is_the_runs_end_and_a_resume_begins(scene: Scene) -> None:
    await scene.fill(2)
    task, go = gated(scene, "raise ValueError('no model here')")
    await run_without_waiting(scene, task)
    go.touch()
    await wait_for_run(scene.ws, scene.dataset, scene.run_name, PATIENCE_S)
    record = await scene.record()
    assert record.status == "failed"
    assert "no model here" in record.warnings[0]
    answer = await scene.run(scene.script(GOOD), resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 2)
    assert (await scene.record()).warnings == ()


async def test_a_refused_resume_leaves_the_run_as_it_was(scene: Scene) -> None:
    await scene.fill(2)
    await scene.run(scene.script(GOOD))
    with pytest.raises(ScriptError, match="no model here"):
        await scene.run(scene.script("raise ValueError('no model here')\n", "broken.py"), resume=True)
    record = await scene.record()
    assert record.status == "completed"
    assert [item.status for item in record.items] == ["succeeded", "succeeded"]
    assert any("not resumed" in warning and "no model here" in warning for warning in record.warnings)
    assert (await scene.run_folder()).status() == "completed"
    answer = await scene.run(None, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 2)


async def test_a_worker_that_dies_while_it_loads_the_scripts_names_its_log(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script("import os\nprint('out of cheese', flush=True)\nos._exit(3)\n")
    with pytest.raises(WorkerError, match="code 3 ") as raised:
        await scene.run(task)
    folder = await scene.run_folder()
    assert str(folder.log_path) in str(raised.value)
    assert "out of cheese" in folder.log_path.read_text()
    record = await scene.record()
    assert record.status == "failed"
    assert "exit code 3" in record.warnings[0]
    answer = await scene.run(scene.script(GOOD), resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 1)


async def test_a_cancel_while_the_scripts_are_loaded_holds(scene: Scene) -> None:
    await scene.fill(3)
    task, go = gated(scene)
    await run_without_waiting(scene, task)
    folder = await scene.run_folder()
    async with anyio.create_task_group() as group:
        group.start_soon(cancel_run, scene.ws, scene.dataset, scene.run_name)
        await until(folder.cancel_requested)
        go.touch()
    record = await scene.record()
    assert record.status == "cancelled"
    assert [item.status for item in record.items] == ["pending"] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interpreter that is a shell script")
async def test_an_interpreter_without_our_package_leaves_no_folder(scene: Scene) -> None:
    await scene.fill(1)
    bare = scene.script("#!/bin/sh\nexit 7\n", "bare")
    bare.chmod(0o755)
    with pytest.raises(LfexpError):
        await scene.run(scene.script(GOOD), python=bare)
    assert not (await scene.run_folder()).run_spec_path.exists()
