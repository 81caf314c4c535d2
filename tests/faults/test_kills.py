"""Processes killed in mid-run."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from lfexp_mcp.services.runs.follower import wait_for_run
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.settings import Settings
from tests.faults.killing import COUNTED_TASK, survive_kills
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 150
CONCURRENCY = 5
KILLS = 4
"""At most a quarter of a second after each start: the items take longer than that altogether."""


@pytest.fixture
def scene(workspace: Workspace, tmp_path: Path) -> Scene:
    return Scene(workspace, tmp_path / "scripts")


async def test_no_journaled_item_runs_again_after_kills_at_random_moments(scene: Scene) -> None:
    await scene.fill(ITEMS)
    survived = await survive_kills(scene, KILLS, CONCURRENCY, longest=0.25)
    answer = survived.answer
    assert survived.kills == KILLS
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    assert set(survived.calls) == {scene.item_id(number) for number in range(ITEMS)}
    assert 0 < survived.most_in_flight <= CONCURRENCY
    assert survived.called_again <= survived.in_flight
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert Counter(item.item_id for item in items) == {scene.item_id(number): 1 for number in range(ITEMS)}
    assert [[score.value for score in item.scores] for item in items] == [[1.0]] * ITEMS


async def test_a_run_finishes_though_the_process_that_started_it_is_killed(scene: Scene, settings: Settings) -> None:
    await scene.fill(20)
    task = scene.script(COUNTED_TASK)
    starter = f"""
import anyio
from pathlib import Path
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.experiments import run_experiment as starting
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import load_settings

async def main():
    starting.START_GRACE_S = {PATIENCE_S}
    async with open_workspace(load_settings()) as ws:
        task = Path({str(task)!r})
        request = RunRequest(dataset={scene.dataset!r}, run_name="run", task_script=task, max_concurrency=2)
        await starting.run_experiment(ws, request, wait_seconds=0)
        print("started", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""
    secret = settings.langfuse_secret_key
    environment = {
        **os.environ,
        "LANGFUSE_PUBLIC_KEY": settings.langfuse_public_key or "",
        "LANGFUSE_SECRET_KEY": secret.get_secret_value() if secret else "",
        "LANGFUSE_HOST": settings.langfuse_url,
        "LFEXP_HOME": str(settings.home),
    }
    process = await anyio.to_thread.run_sync(
        lambda: subprocess.Popen([sys.executable, "-c", starter], env=environment, stdout=subprocess.PIPE)
    )
    assert process.stdout is not None
    assert await anyio.to_thread.run_sync(process.stdout.readline) == b"started\n"
    process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    await anyio.to_thread.run_sync(process.wait)
    process.stdout.close()
    await wait_for_run(scene.ws, scene.dataset, "run", PATIENCE_S)
    record = await scene.record()
    assert record.status == "completed"
    assert {item.status for item in record.items} == {"succeeded"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
async def test_a_full_disk_stops_the_run_says_so_and_keeps_what_is_done(scene: Scene) -> None:
    await scene.fill(12)
    task = scene.script("""
        import os, resource
        from itertools import count

        calls = count()

        def task(*, item, **kwargs):
            if next(calls) == 6 and not os.path.exists(__file__ + ".room"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
            return "x" * 500
    """)
    answer = await scene.run(task, max_concurrency=1)
    assert answer.status == "failed"
    assert answer.succeeded == 6
    assert "outbox" in answer.warnings[0]
    task.with_name("task.py.room").touch()
    answer = await scene.run(task, max_concurrency=1, resume=True)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", 12, 0)
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert len([item for item in items if item.status == "succeeded"]) == 12


def test_a_worker_without_an_order_ends_with_its_parent(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lfexp_mcp.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    )
    process.communicate(b"", timeout=PATIENCE_S)
    assert process.returncode == 0
