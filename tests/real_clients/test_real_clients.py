"""Clients that others make follow a run and cancel it, over stdio and over HTTP.

They are installed once per machine, from PyPI and npm, where `LFEXP_TEST_CLIENTS` is set, as in CI.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfexp_mcp.store.process import StoreConnection
from lfexp_mcp.tools.registry import TOOLS
from tests.npm import REQUIRED
from tests.real_clients.clients import Bridge, RealClient, Target, connected
from tests.serving import command, free_port
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get(REQUIRED), reason=f"{REQUIRED} is not set: clients would be installed"),
]

CLIENTS = {"mcp 1", "mcp 2", "fastmcp", "openai-agents", "typescript 1", "typescript 2", "inspector"}
TOKEN = "a-token-of-this-test"
HELD = 3
"""Items whose task ends only when the run is cancelled."""
TASK = """
import asyncio


async def task(*, item, **kwargs):
    if item.input > 0:
        await asyncio.sleep(3600)
    return item.input
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task script, which HTTP callers may name."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "task.py").write_text(TASK, encoding="utf-8")
    items = "".join(json.dumps({"input": number}) + "\n" for number in range(1 + HELD))
    (folder / "items.jsonl").write_text(items, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path, store: StoreConnection) -> dict[str, str]:
    """The variables of a server on the embedded store."""
    return {
        "LANGFUSE_HOST": store.base_url,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
        "LFEXP_HOME": str(folder / "home"),
        "LFEXP_HTTP_TOKEN": TOKEN,
        "LFEXP_SCRIPT_FOLDERS": str(folder),
    }


@pytest.fixture(scope="module")
def http(environment: dict[str, str]) -> Iterator[Target]:
    """The server over HTTP, with a token."""
    port = free_port()
    with command(environment, "serve", "--http", "--port", str(port)) as process:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        yield Target(url=f"http://127.0.0.1:{port}/mcp", headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture(params=["stdio", "http"])
def target(request: pytest.FixtureRequest, environment: dict[str, str]) -> Target:
    """The server over each transport."""
    if request.param == "http":
        served: Target = request.getfixturevalue("http")
        return served
    return Target(command=[sys.executable, "-m", "lfexp_mcp"], env={"PATH": os.environ["PATH"], **environment})


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_a_client_follows_a_run_and_cancels_it(name: str, target: Target, folder: Path) -> None:
    run = {"dataset": f"{name} {'http' if target.url else 'stdio'}", "run_name": "r"}
    with connected(name, target) as client:
        assert client.tools() == [tool.name for tool in TOOLS]
        client.call("create_dataset", name=run["dataset"], items_file=str(folder / "items.jsonl"))
        started = client.call("run_experiment", task_script=str(folder / "task.py"), wait_seconds=0, **run)
        assert (started["status"], started["next"][0]["tool"]) == ("running", "get_run")
        running = wait_until(lambda: client.call("get_run", **run), lambda now: now["succeeded"] == 1, interval_s=0.2)
        assert (running["status"], running["pending"]) == ("running", HELD)
        assert f"waiting for {HELD} items" in running["progress"]
        if name.startswith("typescript"):
            _leaves_the_run_running(client, run)
        assert client.call("cancel_run", **run)["status"] == "cancelled"
        ended = client.call("get_run", wait_seconds=45, **run)
    assert (ended["status"], ended["succeeded"], ended["pending"]) == ("cancelled", 1, HELD)
    assert sorted(item["status"] for item in ended["items"]) == ["pending"] * HELD + ["succeeded"]


def _leaves_the_run_running(client: RealClient, run: dict[str, str]) -> None:
    """Have the client cancel a call that waits for the run, which is not the run's own end."""
    assert isinstance(client, Bridge)
    client.abandon("get_run", wait_seconds=600, **run)
    assert client.call("get_run", **run)["status"] == "running"
