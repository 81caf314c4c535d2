"""Runs on a Ray cluster whose nodes and processes die, freeze or come late: every item is recorded once."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import pytest

from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.runs.read_run import RUNNING, read_run
from tests.waiting import until
from tests.worker.scene import Scene

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lfexp-mcp[ray]'")
# Ray brings it along.
import psutil  # type: ignore[import-untyped]
from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    # Ray gives a node 30 s to start, whatever else the machine does.
    pytest.mark.skipif(not os.environ.get("LFEXP_TEST_RAY"), reason="LFEXP_TEST_RAY=1 starts a Ray cluster"),
]

COUNT = 24
AT_ONCE = 8
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
"""So that the head gives up a node within seconds; by default, within half a minute."""
TASK = """
    import asyncio, os, pathlib

    FOLDER = pathlib.Path({folder!r})

    async def task(*, item, **kwargs):
        with (FOLDER / "ran").open("a") as file:
            file.write(f"{{os.getpid()}} {{item.input}}\\n")
        {wait}
        return item.input.upper()
"""
UNTIL_TOLD = 'while item.metadata["number"] >= 4 and not (FOLDER / "go").exists(): await asyncio.sleep(0.1)'
A_SECOND = "await asyncio.sleep(1)"
UNTIL_TWO_PROCESSES = """
        for _ in range(20 * item.metadata["number"]):
            if len({line.split()[0] for line in (FOLDER / "ran").read_text().splitlines()}) < 2:
                await asyncio.sleep(0.1)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of one node, to which others come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 4, "include_dashboard": False, "_system_config": HEALTH}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster
        cluster.shutdown()


async def begin(
    scene: Scene,
    cluster: Cluster,
    wait: str,
    *,
    ended: int = 4,
    **arguments: Any,  # noqa: ANN401
) -> RunFolder:
    """Begin a run, and wait until so many items have ended, and as many as can are running."""
    await scene.fill(COUNT)
    task = scene.script(TASK.format(folder=str(scene.folder), wait=wait))
    options = {"address": str(cluster.address), **arguments.pop("options", {})}
    folder = await scene.begin(task, engine="ray", engine_options=options, max_concurrency=AT_ONCE, **arguments)
    await until(lambda: len(folder.read_state().ended) >= ended and len(ran(scene)) >= ended + 4)
    return folder


def ran(scene: Scene) -> list[tuple[int, str]]:
    """The items that have begun to run, each with its process."""
    path = scene.folder / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]


async def check_whole(scene: Scene, folder: RunFolder, *, again: int) -> None:
    """Check that every item has its result and its span once, and how many ran again."""
    await until(lambda: folder.read_state().run_ended is not None)
    ended = folder.read_state().run_ended
    assert ended is not None
    assert ended.status == "completed"
    items = (await scene.record()).items
    assert Counter(item.output for item in items) == Counter(f"INPUT {number}" for number in range(COUNT))
    spans = await scene.ws.gateway.observations.find(environment="sdk-experiment", with_content=False)
    traces = {item.trace_id for item in items}
    assert Counter(span.name for span in spans if span.trace_id in traces)["experiment-item-task"] == COUNT
    times = Counter(item for _, item in ran(scene))
    assert len(times) == COUNT
    assert sum(times.values()) - COUNT == again


@contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """Stop processes meanwhile, as if they were frozen."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


async def test_items_of_a_process_that_is_killed_run_again(scene: Scene, cluster: Cluster) -> None:
    folder = await begin(scene, cluster, UNTIL_TOLD)
    await until(lambda: len(ran(scene)) == 4 + AT_ONCE)
    os.kill(ran(scene)[-1][0], signal.SIGKILL)
    await until(lambda: len(ran(scene)) == 4 + 2 * AT_ONCE)
    (scene.folder / "go").touch()
    await check_whole(scene, folder, again=AT_ONCE)


async def test_a_worker_that_was_frozen_takes_what_nodes_have_done_meanwhile(scene: Scene, cluster: Cluster) -> None:
    folder = await begin(scene, cluster, A_SECOND, item_timeout=3)
    with stopped(psutil.Process(folder.worker.pid)):
        # For longer than a process may take to answer.
        await anyio.sleep(22)
        [warning] = (await read_run(scene.ws, scene.dataset, scene.run_name)).warnings
        assert warning.startswith(f"{RUNNING} ")
    await check_whole(scene, folder, again=0)


@pytest.mark.parametrize("with_processes", [False, True])
async def test_items_of_a_node_that_does_not_answer_run_elsewhere(
    scene: Scene,
    cluster: Cluster,
    *,
    with_processes: bool,
) -> None:
    node = cluster.add_node(num_cpus=4)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    folder = await begin(scene, cluster, UNTIL_TOLD)
    await until(lambda: len(ran(scene)) == 4 + AT_ONCE)
    processes = raylet.children(recursive=True)
    # Items may be in another order than that of their numbers.
    ended = {f"input {number}" for number in range(4)}
    lost = sum(pid in {each.pid for each in processes} for pid, item in ran(scene) if item not in ended)
    assert lost
    with stopped(raylet, *(processes if with_processes else ())):
        await until(lambda: len(ran(scene)) == 4 + AT_ONCE + lost)
        (scene.folder / "go").touch()
        await check_whole(scene, folder, again=lost)
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.parametrize("options", [{}, {"num_cpus": 1}])
async def test_a_node_that_comes_late_gets_items(scene: Scene, cluster: Cluster, options: dict[str, int]) -> None:
    folder = await begin(scene, cluster, UNTIL_TWO_PROCESSES, ended=1, options=options)
    node = cluster.add_node(num_cpus=4)
    await check_whole(scene, folder, again=0)
    assert len({pid for pid, _ in ran(scene)}) == 2
    cluster.remove_node(node, allow_graceful=False)
