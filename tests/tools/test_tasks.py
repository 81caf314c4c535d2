"""Runs as MCP tasks: clients that declare the extension, real workers, and servers that come and go."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import ANY

import pytest
from mcp import Client
from mcp.types import HEADER_MISMATCH, CallToolResult
from pydantic import JsonValue

from lfexp_mcp.services.handles import LIFETIME, MAX_HANDLES, Handle
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection
from lfexp_mcp.tools.server import build_server
from lfexp_mcp.tools.tasks import EXTENSION
from tests.tools.conftest import WriteScript, stdio_server
from tests.tools.remote import Issuer, serving_tokens
from tests.tools.task_client import DeclaredTasks, TaskClient

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY = -32602, -32601, -32021
UNKNOWN_IDS = ("", "0" * 40, "../x", "__proto__", "x" * 100_000, "0" * 39 + "\n")


class Scenery:
    """A dataset, and a task and an evaluator that each wait for a file."""

    def __init__(self, folder: Path, write_script: WriteScript) -> None:
        self.dataset = f"tasks-{uuid.uuid4().hex[:12]}"
        self.gate = folder / f"gate-{self.dataset}"
        self.script = write_script(
            "task.py",
            "import time\nfrom pathlib import Path\n\ndef task(*, item, **kwargs):\n"
            f"    while not Path({str(self.gate)!r}).exists():\n        time.sleep(0.01)\n    return item.input\n",
        )
        self.checks_gate = folder / f"checks-{self.dataset}"
        self.checks = write_script(
            "checks.py",
            "import time\nfrom pathlib import Path\n\ndef seen(*, output, **kwargs):\n"
            f"    while not Path({str(self.checks_gate)!r}).exists():\n        time.sleep(0.01)\n"
            '    return {"name": "seen", "value": 1.0}\n\nEVALUATORS = [seen]\n',
        )

    async def fill(self, client: TaskClient, count: int = 2) -> None:
        items: list[JsonValue] = [{"input": f"in {n}", "expected_output": f"in {n}"} for n in range(count)]
        await client.call("create_dataset", name=self.dataset, items=items)

    def arguments(self, run_name: str = "run", **more: JsonValue) -> dict[str, JsonValue]:
        scored: dict[str, JsonValue] = {"dataset": self.dataset, "run_name": run_name, "evaluators": ["exact_match"]}
        return {**scored, "task_script": str(self.script), "wait_seconds": 3600, **more}


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskClient]:
    async with Client(build_server(settings), extensions=[DeclaredTasks()]) as client:
        yield TaskClient(client)


@pytest.fixture
def scenery(tmp_path: Path, write_script: WriteScript) -> Scenery:
    return Scenery(tmp_path, write_script)


async def test_a_run_is_a_task_whose_result_is_the_answer_of_the_call(
    tasks: TaskClient, scenery: Scenery, settings: Settings
) -> None:
    await scenery.fill(tasks)
    created = await tasks.call("run_experiment", **scenery.arguments())
    assert (created["status"], created["ttlMs"]) == ("working", LIFETIME.total_seconds() * 1000)
    assert not {"result", "error", "inputRequests"} & created.keys()
    task_id = created["taskId"]
    assert len(task_id) == 40
    async with Client(build_server(settings), extensions=[DeclaredTasks()]) as other:
        working = await TaskClient(other).send("tasks/get", task_id)
    assert (working["resultType"], working["status"], working["statusMessage"]) == ("complete", "working", "0/2 items")
    scenery.gate.touch()
    ended = await tasks.ended(task_id)
    assert (ended["status"], ended["createdAt"]) == ("completed", created["createdAt"])
    result = CallToolResult.model_validate(ended["result"])
    await tasks.client.session.validate_tool_result("run_experiment", result)
    assert result.structured_content is not None
    assert not result.is_error
    read = await tasks.call("get_run", dataset=scenery.dataset, run_name="run")
    for name in ("status", "succeeded", "scores", "experiment_id"):
        assert result.structured_content[name] == read[name]
    scoring = await tasks.call(
        "score_run", dataset=scenery.dataset, run_name="run", evaluator_script=str(scenery.checks), wait_seconds=3600
    )
    assert (await tasks.send("tasks/get", scoring["taskId"]))["status"] == "working"
    scenery.checks_gate.touch()
    scored = (await tasks.ended(scoring["taskId"]))["result"]["structuredContent"]
    assert {score["name"]: score["count"] for score in scored["scores"]} == {"exact_match": 2, "seen": 2}
    read = await tasks.call("get_run", dataset=scenery.dataset, run_name="run")
    assert scored == {name: value for name, value in read.items() if name not in ("items", "notice")}
    assert await tasks.send("tasks/get", task_id) == ended, "it is the answer of the call, whatever came after"
    assert await tasks.send("tasks/cancel", task_id) == {"resultType": "complete"}
    assert await tasks.send("tasks/get", task_id) == ended


async def test_a_sweep_is_one_task_and_a_cancel_ends_all_of_it(tasks: TaskClient, scenery: Scenery) -> None:
    await scenery.fill(tasks)
    variants: list[JsonValue] = [{"name": "a", "params": {}}, {"name": "b", "params": {}}]
    script = scenery.script.read_text(encoding="utf-8").replace("**kwargs", "params=None, **kwargs")
    scenery.script.write_text(script, encoding="utf-8")
    created = await tasks.call("run_experiment", **scenery.arguments("sweep", variants=variants))
    assert (await tasks.send("tasks/get", created["taskId"]))["statusMessage"] == "0/4 items"
    # The tool and the task are two doors to one state.
    scenery.gate.touch()
    ended = await tasks.ended(created["taskId"])
    assert ended["result"]["structuredContent"]["variants"].keys() == {"sweep-a", "sweep-b"}
    assert len(ended["result"]["structuredContent"]["ranking"]) == 2


@pytest.mark.parametrize("by", ["tasks/cancel", "cancel_run"])
async def test_a_cancelled_run_is_a_cancelled_task_by_either_door(
    tasks: TaskClient, scenery: Scenery, settings: Settings, by: str
) -> None:
    await scenery.fill(tasks)
    script = scenery.script.read_text(encoding="utf-8").replace("def task", "async def task")
    scenery.script.write_text(script.replace("time.sleep(0.01)", "await __import__('asyncio').sleep(0.01)"), "utf-8")
    quick = settings.model_copy(update={"cancel_grace": 0.1})
    async with Client(build_server(quick), extensions=[DeclaredTasks()]) as client:
        quick_tasks = TaskClient(client)
        created = await quick_tasks.call("run_experiment", **scenery.arguments())
        if by == "cancel_run":
            await quick_tasks.call("cancel_run", dataset=scenery.dataset, run_name="run")
        else:
            assert await quick_tasks.send(by, created["taskId"]) == {"resultType": "complete"}
        ended = await quick_tasks.ended(created["taskId"])
        assert (ended["status"], ended.get("result")) == ("cancelled", None)
        assert "get_run" in ended["statusMessage"]
        read = await quick_tasks.call("get_run", dataset=scenery.dataset, run_name="run")
        assert read["status"] == "cancelled"


async def test_a_task_is_found_by_a_server_that_was_started_after_the_one_that_made_it(
    home: Path, store: StoreConnection, scenery: Scenery
) -> None:
    async with Client(stdio_server(home, store), extensions=[DeclaredTasks()]) as client:
        first = TaskClient(client)
        await scenery.fill(first)
        created = await first.call("run_experiment", **scenery.arguments())
    scenery.gate.touch()
    async with Client(stdio_server(home, store), extensions=[DeclaredTasks()]) as client:
        ended = await TaskClient(client).ended(created["taskId"])
    assert ended["result"]["structuredContent"]["succeeded"] == 2


async def test_only_who_declares_tasks_with_the_call_gets_one_or_may_ask_for_one(
    tasks: TaskClient, scenery: Scenery, settings: Settings
) -> None:
    await scenery.fill(tasks)
    created = await tasks.call("run_experiment", **scenery.arguments())
    async with Client(build_server(settings)) as client:
        plain = TaskClient(client)
        answer = await plain.call("run_experiment", **scenery.arguments("other", wait_seconds=0))
        assert (answer["status"], "taskId" in answer) == ("running", False)
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            error = await plain.refused(method, created["taskId"], input_responses={})
            assert error.code == MISSING_CAPABILITY
            assert error.data["requiredCapabilities"] == {"extensions": {EXTENSION: {}}}
    async with Client(build_server(settings), mode="legacy", extensions=[DeclaredTasks()]) as client:
        legacy = TaskClient(client)
        answer = await legacy.call("run_experiment", **scenery.arguments("third", wait_seconds=0))
        assert (answer["status"], "taskId" in answer) == ("running", False)
        assert (await legacy.refused("tasks/get", created["taskId"])).code == METHOD_NOT_FOUND
    assert (await tasks.send("tasks/get", created["taskId"]))["status"] == "working"
    for method in ("tasks/list", "tasks/result"):
        assert (await tasks.refused(method, created["taskId"])).code == METHOD_NOT_FOUND
    assert await tasks.send("tasks/update", created["taskId"], input_responses={"x": {"action": "accept"}}) == {
        "resultType": "complete"
    }
    scenery.gate.touch()
    for run_name in ("run", "other", "third"):
        read = await tasks.call("get_run", dataset=scenery.dataset, run_name=run_name, wait_seconds=3600)
        assert read["status"] == "completed"


async def test_what_a_call_refuses_or_ends_by_itself_is_answered_at_once(tasks: TaskClient, scenery: Scenery) -> None:
    await scenery.fill(tasks)
    missing = await tasks.client.call_tool("run_experiment", scenery.arguments() | {"dataset": "no-such-dataset"})
    assert missing.is_error
    assert (missing.structured_content or {})["error"]["code"] == "not_found"
    scenery.gate.touch()
    dry = await tasks.call("run_experiment", **scenery.arguments(dry_run=True))
    assert (dry["status"], dry["estimate"]["results"]) == ("completed", 2)


async def test_an_equal_call_while_the_run_goes_on_is_its_task_as_long_as_the_code_is_the_same(
    tasks: TaskClient, scenery: Scenery, settings: Settings
) -> None:
    await scenery.fill(tasks)
    created = await tasks.call("run_experiment", **scenery.arguments())
    again = await tasks.call("run_experiment", **scenery.arguments(wait_seconds=1))
    assert (again["taskId"], again["createdAt"]) == (created["taskId"], created["createdAt"])
    async with Client(build_server(settings)) as client:
        refusals = [await TaskClient(client).refusal("run_experiment", **scenery.arguments())]
    refusals += [await tasks.refusal("run_experiment", **scenery.arguments(max_concurrency=2))]
    scenery.script.write_text(f"{scenery.script.read_text('utf-8')}\n", "utf-8")
    refusals += [await tasks.refusal("run_experiment", **scenery.arguments())]
    for refusal in refusals:
        assert refusal.error.code == "run_exists"
        assert [step.tool for step in refusal.next] == ["get_run", "cancel_run"]
    scenery.gate.touch()
    await tasks.ended(created["taskId"])
    [step] = (await tasks.refusal("run_experiment", **scenery.arguments())).next
    assert (step.tool, step.arguments["resume"]) == ("run_experiment", True)


async def test_an_unknown_task_is_an_invalid_parameter(tasks: TaskClient) -> None:
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        for task_id in UNKNOWN_IDS:
            assert (await tasks.refused(method, task_id, input_responses={})).code == INVALID_PARAMS


async def test_a_task_of_somebody_else_is_as_unknown_as_one_that_never_was_and_expires_without_its_run(
    tasks: TaskClient, scenery: Scenery, settings: Settings
) -> None:
    await scenery.fill(tasks)
    created = await tasks.call("run_experiment", **scenery.arguments())
    file = settings.home / "handles" / f"{created['taskId']}.json"
    handle = Handle.model_validate_json(file.read_bytes())
    unknown = await tasks.refused("tasks/get", "0" * 40)
    file.write_text(handle.model_copy(update={"owner": "somebody else"}).model_dump_json(), encoding="utf-8")
    for method in ("tasks/get", "tasks/cancel"):
        refused = await tasks.refused(method, created["taskId"])
        assert (refused.code, refused.message) == (INVALID_PARAMS, unknown.message)
    expired = handle.model_copy(update={"created": handle.created - LIFETIME})
    file.write_text(expired.model_dump_json(), encoding="utf-8")
    for method in ("tasks/get", "tasks/cancel"):
        assert (await tasks.refused(method, created["taskId"])).code == INVALID_PARAMS
    read = await tasks.call("get_run", dataset=scenery.dataset, run_name="run")
    assert read["status"] == "running", "the run goes on"
    weeks_ago = (file.stat().st_mtime - LIFETIME.total_seconds(),) * 2
    os.utime(file, weeks_ago)
    await tasks.call("run_experiment", **scenery.arguments("second"))
    assert not file.exists(), "the next task makes room"
    scenery.gate.touch()
    read = await tasks.call("get_run", dataset=scenery.dataset, run_name="run", wait_seconds=3600)
    assert read["status"] == "completed"


async def test_over_http_a_task_is_its_callers_across_sessions_and_tokens_and_nobody_elses(
    issuer: Issuer, store: StoreConnection, scenery: Scenery, tmp_path: Path
) -> None:
    with serving_tokens(issuer, tmp_path, store, LFEXP_SCRIPT_FOLDERS=str(scenery.script.parent)) as server:

        @asynccontextmanager
        async def calling(sub: str, jti: str) -> AsyncIterator[TaskClient]:
            async with server.calling(issuer.token(sub=sub, jti=jti), DeclaredTasks()) as client:
                yield TaskClient(client)

        async with calling("alice", "1") as alice:
            await scenery.fill(alice)
            task_id = (await alice.call("run_experiment", **scenery.arguments()))["taskId"]
        async with calling("alice", "2") as alice, calling("bob", "3") as bob:
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                refused = await bob.refused(method, task_id, input_responses={})
                unknown = await bob.refused(method, "0" * 40, input_responses={})
                assert (refused.code, refused.message) == (unknown.code, unknown.message) == (INVALID_PARAMS, ANY)
            assert (await alice.send("tasks/get", task_id))["status"] == "working"
            meta = "io.modelcontextprotocol/"
            declared: JsonValue = {"extensions": {EXTENSION: {}}}
            message: dict[str, JsonValue] = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tasks/cancel",
                "params": {
                    "taskId": task_id,
                    "_meta": {f"{meta}protocolVersion": "2026-07-28", f"{meta}clientCapabilities": declared},
                },
            }
            headers = {"Mcp-Method": "tasks/cancel", "Mcp-Name": "0" * 40, "Mcp-Protocol-Version": "2026-07-28"}
            crossed = server.post(issuer.token(sub="alice"), message, **headers).json()
            assert crossed["error"]["code"] == HEADER_MISMATCH
            assert (await alice.call("run_experiment", **scenery.arguments()))["taskId"] == task_id
            assert (await bob.refusal("run_experiment", **scenery.arguments())).error.code == "run_exists"
            [file] = (tmp_path / "home" / "handles").glob(f"*/{task_id}.json")
            for number in range(MAX_HANDLES):
                file.with_name(f"{number:040x}.json").touch()
            assert "taskId" not in await alice.call("run_experiment", **scenery.arguments("second"))
            bobs = await bob.call("run_experiment", **scenery.arguments("third"))
            assert (await bob.send("tasks/get", bobs["taskId"]))["status"] == "working", "each has room of their own"
            # As an earlier version wrote it.
            handle = Handle.model_validate_json(file.read_bytes())
            file.unlink()
            (tmp_path / "home" / "handles" / file.name).write_text(handle.model_dump_json(exclude={"notices"}), "utf-8")
            assert (await bob.refused("tasks/get", task_id)).code == INVALID_PARAMS
            scenery.gate.touch()
            assert (await alice.ended(task_id))["status"] == "completed"
