"""A Langfuse that accepts requests and does not answer, and calls that end all the same."""

import math

import anyio
import pytest
from mcp import Client

from lfexp_mcp.errors import RunExistsError, UnreachableError
from lfexp_mcp.services.experiments import run_experiment
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.runs import local_runs, read_run
from lfexp_mcp.services.runs.follower import wait_for_run
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.tools import tool as tools
from lfexp_mcp.tools.server import build_server
from tests.faults.proxy import Fault, FaultProxy, Request
from tests.tools.conftest import Caller
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GOOD = "def task(*, item, **kwargs):\n    return item.input.upper()\n"
HANGS = Fault(delay=3600)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls give Langfuse up soon."""
    monkeypatch.setattr(local_runs, "LOOKUP_PATIENCE_S", 0.3)
    monkeypatch.setattr(read_run, "READING_PATIENCE_S", 0.3)


def hang(_request: Request) -> Fault:
    """Answer nothing."""
    return HANGS


async def test_get_run_answers_from_the_journal_where_langfuse_does_not(scene: Scene, proxy: FaultProxy) -> None:
    await scene.fill(3)
    await scene.run(scene.script(GOOD))
    proxy.faults = hang
    # A process of its own would know nothing of the project yet.
    async with open_workspace(scene.ws.settings) as anew:
        with anyio.fail_after(PATIENCE_S):
            found = await get_run(anew, scene.dataset, scene.run_name, patience_s=2)
    assert (found.status, found.succeeded, len(found.items)) == ("completed", 3, 3)
    assert found.experiment_url is not None
    assert any("journal on this machine" in warning for warning in found.warnings)


async def test_a_run_of_the_same_names_in_another_project_is_not_shown_for_it(scene: Scene, proxy: FaultProxy) -> None:
    await scene.fill(1)
    await scene.run(scene.script(GOOD))
    proxy.faults = hang
    other = scene.ws.settings.model_copy(update={"langfuse_public_key": "pk-lf-another"})
    async with open_workspace(other) as anew:
        with anyio.move_on_after(2) as scope:
            await get_run(anew, scene.dataset, scene.run_name)
    assert scope.cancelled_caught


async def test_a_tool_call_ends_soon_after_its_time_whatever_langfuse_does(
    scene: Scene, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "MIN_LIMIT_S", 0.3)
    monkeypatch.setattr(tools, "GRACE_S", 0.3)
    proxy.faults = hang
    async with Client(build_server(scene.ws.settings)) as client:
        caller = Caller(client)
        for tool, arguments in (
            ("list_runs", {"dataset": "d"}),
            ("get_run", {"dataset": "d", "run_name": "r", "wait_seconds": 0.2}),
            ("compare_runs", {"dataset": "d", "runs": ["a", "b"]}),
            ("analyze_run", {"dataset": "d", "run_name": "r"}),
            ("fetch_annotation_comments", {"dataset": "d"}),
            ("cancel_run", {"dataset": "d", "run_name": "r"}),
        ):
            with anyio.fail_after(PATIENCE_S):
                assert (await caller.refusal(tool, **arguments)).error.code == "unreachable"


async def test_later_pages_and_single_items_are_shown_without_reading_the_run_again(
    scene: Scene, proxy: FaultProxy
) -> None:
    await scene.fill(5)
    await scene.run(scene.script(GOOD))
    first = await get_run(scene.ws, scene.dataset, scene.run_name, limit=2)
    proxy.requests.clear()
    second = await get_run(scene.ws, scene.dataset, scene.run_name, limit=2, cursor=first.next_cursor)
    one = await get_run(scene.ws, scene.dataset, scene.run_name, item_id=second.items[0].item_id)
    assert (one.items[0].item_id, len(second.items)) == (second.items[0].item_id, 2)
    assert not {first.items[0].item_id, first.items[1].item_id} & {item.item_id for item in second.items}
    assert [request.path for request in proxy.requests if "experiment-items" in request.path] == []
    await get_run(scene.ws, scene.dataset, scene.run_name)
    assert [request.path for request in proxy.requests if "experiment-items" in request.path] != []


async def test_a_cancelled_call_leaves_a_run_that_begins(scene: Scene, proxy: FaultProxy) -> None:
    await scene.fill(2)
    task = scene.script(GOOD)
    proxy.faults = lambda request: Fault(delay=0.5) if "dataset-items" in request.path else None
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: scene.run(task, wait_seconds=math.inf))
        await until(lambda: scene.ws.launches.find(scene.dataset, scene.run_name) is not None)
        group.cancel_scope.cancel()
    assert (await get_run(scene.ws, scene.dataset, scene.run_name)).status == "running"
    await wait_for_run(scene.ws, scene.dataset, scene.run_name, PATIENCE_S)
    assert (await get_run(scene.ws, scene.dataset, scene.run_name)).succeeded == 2


async def test_an_equal_call_joins_the_start_of_a_cancelled_one_and_another_is_refused(
    scene: Scene, proxy: FaultProxy
) -> None:
    await scene.fill(2)
    task = scene.script(GOOD)
    proxy.faults = lambda request: Fault(delay=1) if "dataset-items" in request.path else None
    with anyio.move_on_after(0.05):
        await scene.run(task)
    with pytest.raises(RunExistsError):
        await scene.run(task, max_concurrency=7)
    assert (await scene.run(task)).succeeded == 2


async def test_a_run_that_is_being_prepared_can_be_cancelled_and_has_not_begun(
    scene: Scene, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_experiment, "START_GRACE_S", 0.1)
    await scene.fill(2)
    task = scene.script(GOOD)
    proxy.faults = lambda request: HANGS if "dataset-items" in request.path else None
    answer = await scene.run(task, wait_seconds=0)
    assert (answer.status, answer.succeeded, answer.next[0].tool) == ("running", 0, "get_run")
    cancelled = await cancel_run(scene.ws, scene.dataset, scene.run_name)
    assert (cancelled.status, cancelled.succeeded) == ("cancelled", 0)
    proxy.faults = lambda request: None
    assert (await scene.run(task)).succeeded == 2


async def test_a_start_that_failed_unheard_is_told_to_the_next_who_asks(
    scene: Scene, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_experiment, "START_GRACE_S", 0.1)
    await scene.fill(1)
    proxy.faults = lambda request: Fault(status=500, delay=0.2) if "dataset-items" in request.path else None
    assert (await scene.run(scene.script(GOOD), wait_seconds=0)).status == "running"
    with pytest.raises(UnreachableError):
        await get_run(scene.ws, scene.dataset, scene.run_name, wait_seconds=PATIENCE_S)
