"""Callers of one server with Langfuse keys of their own: each sees and controls only what its keys do."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import PromptReference
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import BusyError, CredentialsError
from lfexp_mcp.model import ToolName
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from lfexp_mcp.tools import state as state_module
from lfexp_mcp.tools.callers import HOST, PUBLIC_KEY, SECRET_KEY, Caller
from lfexp_mcp.tools.registry import TOOLS
from lfexp_mcp.tools.state import ServerState, serving
from tests.tools.conftest import Caller as ToolCaller
from tests.tools.remote import HttpServer, Issuer, serving_http
from tests.waiting import PATIENCE_S, until

TOKEN = "a-static-token"
SLOW_TASK = """
import time

def task(*, item, **kwargs):
    while not __import__("pathlib").Path(__file__).with_name("go").exists():
        time.sleep(0.02)
    return item["input"]
"""


@contextmanager
def langfuse_of(*projects: StoreConnection) -> Iterator[str]:
    """Serve several projects at one address, as Langfuse does: the keys tell which one is meant."""
    at = {
        f"Basic {b64encode(f'{each.public_key}:{each.secret_key}'.encode()).decode()}": each.base_url
        for each in projects
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            target = at.get(self.headers["Authorization"])
            if target is None:
                self.answer(401, b'{"message": "Invalid credentials"}')
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = http.request(self.command, f"{target}{self.path}", content=body, headers=headers)
            self.answer(answer.status_code, answer.content, answer.headers.get("Content-Type"))

        def answer(self, status: int, body: bytes, kind: str | None = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = forward  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with httpx.Client(timeout=PATIENCE_S) as http:
        Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


@pytest.fixture
def projects(store: StoreConnection, tmp_path: Path) -> Iterator[tuple[StoreConnection, StoreConnection]]:
    other = tmp_path / "other-store"
    yield store, ensure_store(other)
    stop_store(other)


@pytest.fixture
def langfuse(projects: tuple[StoreConnection, StoreConnection]) -> Iterator[str]:
    with langfuse_of(*projects) as url:
        yield url


def keys(project: StoreConnection, **changes: str) -> dict[str, str]:
    return {PUBLIC_KEY: project.public_key, SECRET_KEY: project.secret_key} | changes


@asynccontextmanager
async def calling(server: HttpServer, token: str, headers: dict[str, str]) -> AsyncIterator[ToolCaller]:
    given = {"Authorization": f"Bearer {token}", **headers}
    async with (
        httpx2.AsyncClient(headers=given, timeout=PATIENCE_S) as http,
        Client(streamable_http_client(server.url, http_client=http)) as client,
    ):
        yield ToolCaller(client)


ITEMS: JsonValue = [{"input": "one"}]


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_caller_sees_and_controls_only_the_runs_of_its_own_keys(
    projects: tuple[StoreConnection, StoreConnection], langfuse: str, tmp_path: Path
) -> None:
    alices, bobs = map(keys, projects)
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "task.py").write_text(SLOW_TASK)
    run = {"dataset": "callers-alice", "run_name": "r1"}
    variables = {"LANGFUSE_HOST": langfuse, "LFEXP_CALLER_KEYS": "headers", "LFEXP_SCRIPT_FOLDERS": str(scripts)}
    with serving_http(tmp_path, LFEXP_HTTP_TOKEN=TOKEN, **variables) as server:
        async with calling(server, TOKEN, alices) as alice, calling(server, TOKEN, bobs) as bob:
            await alice.answer("create_dataset", name="callers-alice", items=ITEMS)
            await bob.answer("create_dataset", name="callers-bob", items=ITEMS)
            started = await alice.answer("run_experiment", **run, task_script=str(scripts / "task.py"), wait_seconds=0)
            assert started["status"] == "running"
            await bob.answer("create_dataset", name="callers-alice", items=ITEMS)
            assert (await bob.refusal("get_run", **run)).error.code == "not_found"
            assert (await bob.refusal("cancel_run", **run)).error.code == "not_found"
            assert (await bob.refusal("run_experiment", **run, resume=True)).error.code == "not_found"
            for who, theirs in ((alice, "callers-alice"), (bob, "callers-bob")):
                completed = await who.client.complete(
                    PromptReference(type="ref/prompt", name="ab_test"), {"name": "dataset", "value": "callers-"}
                )
                assert theirs in completed.completion.values
                assert ("callers-bob" in completed.completion.values) == (who is bob)
            wrong = keys(projects[0], **{SECRET_KEY: "sk-lf-wrong"})
            async with calling(server, TOKEN, wrong) as mallory:
                assert (await mallory.refusal("get_run", **run)).error.code == "credentials"
            assert (await alice.answer("get_run", **run))["status"] == "running"
            (scripts / "go").touch()
            ended = await alice.answer("get_run", **run, wait_seconds=PATIENCE_S)
            assert ended["status"] == "completed"
        opened = server.post(TOKEN, **alices)
        session = {"Mcp-Session-Id": opened.headers["Mcp-Session-Id"]}
        ping: JsonValue = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert server.post(TOKEN, ping, **alices, **session).status_code == 200
        assert server.post(TOKEN, ping, **bobs, **session).status_code == 404
        assert server.post(TOKEN, ping, **wrong, **session).status_code == 404
        folders = sorted(path.name for path in (tmp_path / "home" / "callers").iterdir())
        assert folders == sorted(caller_of(project).id for project in projects)
        log = server.log.read_text()
    for secret in (alices[SECRET_KEY], bobs[SECRET_KEY], TOKEN):
        assert secret not in log
        assert not any(secret in str(path) for path in (tmp_path / "home").rglob("*"))


CONTENT = ("zq-input", "zq-metadata", "zq-about", "zq-instruction")
"""Words of what one caller keeps; no call of the other holds them."""
NAMES = ("zq-dataset", "zq-run", "judge-zq", "zq-task")


def asked_of(dataset: str, run: str, judge: str) -> dict[ToolName, dict[str, JsonValue]]:
    """Calls that ask each tool about these names; those that write are last."""
    about: dict[str, JsonValue] = {"dataset": dataset, "run_name": run}
    two: dict[str, JsonValue] = {"dataset": dataset, "runs": [run, f"{run}-2"]}
    return {
        "list_datasets": {},
        "list_judges": {},
        "get_dataset": {"dataset": dataset},
        "list_runs": {"dataset": dataset},
        "get_run": about,
        "analyze_run": about,
        "compare_runs": two,
        "fetch_annotation_comments": about,
        "request_labels": about | {"score_name": "exact_match"},
        "check_judge": about | {"score_name": "exact_match"},
        "judge_pairs": {"dataset": dataset, "run_a": run, "run_b": f"{run}-2", "judge": judge},
        "confirm_run": about | {"baseline": f"{run}-2", "min_delta": 0.5},
        "cancel_run": about,
        "score_run": about | {"evaluators": ["exact_match"]},
        "run_experiment": about | {"resume": True},
        "create_dataset": {"name": dataset, "items": [{"input": "of bob"}]},
        "create_judge": {"name": judge, "prompt": "Of bob: score {{output}} from 0 to 10."},
        "create_prompt": {"name": "zq-task", "prompt": "Of bob: {{input}}"},
    }


@pytest.mark.slow
@pytest.mark.anyio
async def test_no_tool_or_resource_shows_a_caller_what_another_callers_keys_hold_or_changes_it(
    projects: tuple[StoreConnection, StoreConnection], langfuse: str, tmp_path: Path
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "task.py").write_text("def task(*, item, **kwargs):\n    print(item.input)\n    return item.input\n")
    variables = {"LANGFUSE_HOST": langfuse, "LFEXP_CALLER_KEYS": "headers", "LFEXP_SCRIPT_FOLDERS": str(scripts)}
    item: dict[str, JsonValue] = {"id": "zq-item", "input": "zq-input", "expected_output": "zq-input"}
    kept: list[JsonValue] = [{**item, "metadata": {"zq-metadata": "zq-metadata"}}]
    with serving_http(tmp_path, LFEXP_HTTP_TOKEN=TOKEN, **variables) as server:
        async with (
            calling(server, TOKEN, keys(projects[0])) as alice,
            calling(server, TOKEN, keys(projects[1])) as bob,
        ):
            await alice.answer("create_dataset", name="zq-dataset", items=kept, description="zq-about")
            await alice.answer("create_judge", name="judge-zq", prompt="zq-instruction: 0 to 10 for {{output}}.")
            await alice.answer("create_prompt", name="zq-task", prompt="zq-instruction: {{input}}")
            for run_name in ("zq-run", "zq-run-2"):
                ran = await alice.answer(
                    "run_experiment",
                    dataset="zq-dataset",
                    run_name=run_name,
                    task_script=str(scripts / "task.py"),
                    evaluators=["exact_match"],
                    wait_seconds=PATIENCE_S,
                )
                assert ran["status"] == "completed"
            looks: list[tuple[str, dict[str, JsonValue]]] = [
                ("get_dataset", {"dataset": "zq-dataset"}),
                ("get_run", {"dataset": "zq-dataset", "run_name": "zq-run"}),
                ("list_judges", {"judge": "judge-zq"}),
                ("list_runs", {"dataset": "zq-dataset"}),
            ]
            before = [await alice.answer(tool, **arguments) for tool, arguments in looks]
            assert all(word in str(before) for word in CONTENT), "alice sees it"

            # Names a letter away from hers are answered with the nearest that there are: none of hers.
            near = asked_of("zq-datasetx", "zq-runx", "judge-zqx")
            exact = asked_of("zq-dataset", "zq-run", "judge-zq")
            assert near.keys() == {tool.name for tool in TOOLS}
            for asked, hidden in ((near, (*CONTENT, *NAMES)), (exact, CONTENT)):
                for tool, arguments in asked.items():
                    shown = str(await bob.result(tool, **arguments))
                    for given in ("zq-datasetx", "zq-runx", "judge-zqx") if asked is near else ():
                        shown = shown.replace(given, "")
                    if tool == "create_prompt":
                        shown = shown.replace("zq-task", "")
                    assert not [word for word in hidden if word in shown], (tool, shown)
            addresses = [str(resource.uri) for resource in (await bob.client.list_resources()).resources]
            for template in (await bob.client.list_resource_templates()).resource_templates:
                filled = template.uri_template.replace("{run}", "zq-run").replace("{runs}", "zq-run,zq-run-2")
                addresses.append(filled.replace("{name}", "judge-zq" if "judges" in filled else "zq-dataset"))
            for address in addresses:
                try:
                    shown = str(await bob.client.read_resource(address))
                except MCPError as error:
                    shown = str(error)
                assert not [word for word in CONTENT if word in shown], (address, shown)

            after = [await alice.answer(tool, **arguments) for tool, arguments in looks]
            assert after == before, "what bob did under her names is in his project alone"
            assert "of bob" in str(await bob.answer("get_dataset", dataset="zq-dataset"))


def caller_of(project: StoreConnection) -> Caller:
    return Caller(public_key=project.public_key, secret_key=SecretStr(project.secret_key))


def headers_of(langfuse: str) -> dict[str, tuple[int, list[tuple[str, str]]]]:
    """Headers of a request, and the status of the answer to it."""
    public, secret = (PUBLIC_KEY, "pk-lf-a"), (SECRET_KEY, "sk-lf-a")
    return {
        "both": (200, [public, secret]),
        "both, and the server's own host": (200, [public, secret, (HOST, f"{langfuse}/")]),
        "none": (403, []),
        "no secret": (403, [public]),
        "no public key": (403, [secret]),
        "an empty secret": (403, [public, (SECRET_KEY, "")]),
        "two public keys": (403, [public, (PUBLIC_KEY, "pk-lf-b"), secret]),
        "two secrets": (403, [public, secret, (SECRET_KEY, "sk-lf-b")]),
        "a colon": (403, [(PUBLIC_KEY, "pk-lf-a:sk"), secret]),
        "a blank": (403, [(PUBLIC_KEY, "pk lf"), secret]),
        "another host": (403, [public, secret, (HOST, "http://169.254.169.254")]),
        "the host and another": (403, [public, secret, (HOST, langfuse), (HOST, "http://localhost:1")]),
        "an empty host": (403, [public, secret, (HOST, "")]),
        "a long key": (403, [(PUBLIC_KEY, "p" * 201), secret]),
    }


@pytest.mark.slow
@pytest.mark.anyio
async def test_keys_in_headers_are_whole_or_refused(tmp_path: Path) -> None:
    langfuse = "http://127.0.0.1:9"
    variables = {"LANGFUSE_HOST": langfuse, "LFEXP_CALLER_KEYS": "headers", "LFEXP_HTTP_TOKEN": TOKEN}
    given = headers_of(langfuse)
    with serving_http(tmp_path, **variables) as server:
        sent = {name: [*headers, ("Authorization", f"Bearer {TOKEN}")] for name, (_, headers) in given.items()}
        accept = [("Accept", "application/json, text/event-stream")]
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE_PARAMS}
        statuses = {
            name: server.http.post(server.url, json=body, headers=[*headers, *accept]).status_code
            for name, headers in sent.items()
        }
    assert statuses == {name: status for name, (status, _) in given.items()}
    assert not (tmp_path / "home").exists()


INITIALIZE_PARAMS: JsonValue = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_file_gives_each_subject_its_keys_and_no_other_subject_any(
    projects: tuple[StoreConnection, StoreConnection], langfuse: str, issuer: Issuer, tmp_path: Path
) -> None:
    known = {
        name: {"public_key": project.public_key, "secret_key": project.secret_key}
        for name, project in zip(("alice", "bob"), projects, strict=True)
    }
    (tmp_path / "callers.json").write_text(json.dumps(known))
    variables = {
        "LANGFUSE_HOST": langfuse,
        "LFEXP_CALLER_KEYS": str(tmp_path / "callers.json"),
        "LFEXP_HTTP_URL": issuer.audience,
        "LFEXP_OAUTH_ISSUER": issuer.url,
        "LFEXP_OAUTH_JWKS_URL": issuer.jwks_url,
    }
    with serving_http(tmp_path, **variables) as server:
        async with (
            calling(server, issuer.token(sub="alice"), {}) as alice,
            # Headers are no way to the keys of another.
            calling(server, issuer.token(sub="bob"), keys(projects[0])) as bob,
        ):
            await alice.answer("create_dataset", name="callers-by-subject", items=ITEMS)
            assert (await bob.refusal("get_dataset", dataset="callers-by-subject")).error.code == "not_found"
            await alice.answer("get_dataset", dataset="callers-by-subject")
        for subject in ("mallory", "Alice", "alice ", "*"):
            assert server.post(issuer.token(sub=subject)).status_code == 403


@pytest.mark.parametrize(
    "content", ["", "[]", '{"alice": {"public_key": "pk-lf-a"}}', '{"alice": {"public_key": "p:q", "secret_key": "s"}}']
)
def test_a_file_of_callers_that_is_not_one_is_refused_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    from lfexp_mcp.cli.app import run_command

    (tmp_path / "callers.json").write_text(content.replace('"s"', '"sk-lf-secret"'))
    monkeypatch.setenv("LFEXP_CALLER_KEYS", str(tmp_path / "callers.json"))
    monkeypatch.setenv("LFEXP_OAUTH_ISSUER", "https://issuer.test")
    monkeypatch.setenv("LFEXP_OAUTH_JWKS_URL", "https://issuer.test/jwks")
    assert run_command(["serve", "--http", "--port", "1"]) == 2
    error = capsys.readouterr().err
    assert "LFEXP_CALLER_KEYS" in error
    assert "sk-lf-secret" not in error


def test_a_file_of_callers_and_a_token_without_a_subject_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from lfexp_mcp.cli.app import run_command

    monkeypatch.setenv("LFEXP_CALLER_KEYS", str(tmp_path / "callers.json"))
    assert run_command(["serve", "--http", "--port", "1"]) == 2
    assert "LFEXP_OAUTH_ISSUER" in capsys.readouterr().err


@asynccontextmanager
async def remote_state(settings: Settings, **changes: str) -> AsyncIterator[ServerState]:
    async with serving(settings.model_copy(update={"caller_keys": "headers", **changes}), remote=True) as state:
        yield state


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_workspace_in_use_is_never_closed_and_an_idle_one_makes_room(
    projects: tuple[StoreConnection, StoreConnection],
    langfuse: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_module, "MAX_WORKSPACES", 1)
    alice, bob = map(caller_of, projects)
    async with remote_state(settings, langfuse_url=langfuse) as state:
        with state.in_use(alice):
            first = await state.workspace(alice)
            with state.in_use(bob), pytest.raises(BusyError):
                await state.workspace(bob)
            assert await state.workspace(alice) is first
            await first.gateway.health()
        done = anyio.Event()
        # Work that no call waits for keeps it open, too.
        await first.background.do("work", lambda _job: done.wait(), 0)
        with state.in_use(bob), pytest.raises(BusyError):
            await state.workspace(bob)
        done.set()
        await until(lambda: not first.is_busy)
        with state.in_use(bob):
            second = await state.workspace(bob)
        assert second.settings.home != first.settings.home
        await until(lambda: is_closed(first.gateway._transport.http))
        with state.in_use(alice):
            assert await state.workspace(alice) is not first


def is_closed(http: httpx.AsyncClient) -> bool:
    return http.is_closed


@pytest.mark.slow
@pytest.mark.anyio
async def test_idle_workspaces_are_closed_in_time(
    projects: tuple[StoreConnection, StoreConnection],
    langfuse: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_module, "IDLE_S", 0.0)
    alice, bob = map(caller_of, projects)
    async with remote_state(settings, langfuse_url=langfuse) as state:
        first = await state.workspace(alice)
        await state.workspace(bob)
        await until(lambda: is_closed(first.gateway._transport.http))


@pytest.mark.anyio
async def test_a_call_without_a_caller_gets_nobodys_keys(settings: Settings) -> None:
    async with remote_state(settings) as state:
        with pytest.raises(CredentialsError):
            await state.workspace(None)


@pytest.mark.slow
@pytest.mark.anyio
async def test_keys_that_langfuse_refuses_open_nothing_and_take_no_room(
    projects: tuple[StoreConnection, StoreConnection], langfuse: str, settings: Settings, home: Path
) -> None:
    wrong = Caller(public_key=projects[0].public_key, secret_key=SecretStr("sk-lf-wrong"))
    async with remote_state(settings, langfuse_url=langfuse) as state:
        with pytest.raises(CredentialsError):
            await state.workspace(wrong)
        assert not state._slots
    assert not home.exists()  # noqa: ASYNC240
