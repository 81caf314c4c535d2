"""A run whose cluster is lost with its head: it goes on in a cluster that is started in its place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lfexp_mcp.services.runs.read_run import read_run
from tests.serving import free_port
from tests.waiting import until
from tests.worker.scene import Scene
from tests.worker.test_ray_faults import AT_ONCE, HEALTH, UNTIL_TOLD, begin, check_whole, ran

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lfexp-mcp[ray]'")
from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("LFEXP_TEST_RAY"), reason="LFEXP_TEST_RAY=1 starts a Ray cluster"),
]

LOST = {**HEALTH, "gcs_rpc_server_reconnect_timeout_s": 5}
"""So that what is left of the cluster ends within seconds; by default, within a minute."""


@contextmanager
def cluster_at(port: int) -> Iterator[Cluster]:
    """A cluster of two nodes whose head listens at this port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 4, "include_dashboard": False, "gcs_server_port": port, "_system_config": LOST}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=4)
        yield cluster
        cluster.shutdown()


@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_a_run_goes_on_in_a_new_cluster_after_the_head_of_its_own_died(
    scene: Scene, *, is_elsewhere: bool
) -> None:
    port = free_port()
    with cluster_at(port) as lost:
        folder = await begin(scene, lost, UNTIL_TOLD)
        await until(lambda: len(ran(scene)) == 4 + AT_ONCE)
        lost.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        await until(lambda: not folder.worker.is_running())
        record = await read_run(scene.ws, scene.dataset, scene.run_name)
        assert (record.status, folder.worker.exit_code) == ("failed", 1)
        assert len(folder.read_state().ended) == 4
    with cluster_at(free_port() if is_elsewhere else port) as cluster:
        (scene.folder / "go").touch()
        task = scene.folder / "task.py"
        # A run remembers its cluster.
        asked: dict[str, Any] = (
            {"engine": "ray", "engine_options": {"address": str(cluster.address)}} if is_elsewhere else {}
        )
        resumed = await scene.run(task, resume=True, max_concurrency=AT_ONCE, **asked)
        assert (resumed.status, resumed.failed) == ("completed", 0)
        await check_whole(scene, folder, again=AT_ONCE)
