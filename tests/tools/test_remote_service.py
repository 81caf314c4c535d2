"""The HTTP server as a process, among callers that should not be served and many that should."""

import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from tests.tools.remote import INITIALIZE, HttpServer, serving_http
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

TOKEN = "a-token-that-nobody-may-see"
SESSIONS = 300
MEGABYTE = 1024**2
SESSION_BYTES = MEGABYTE // 2
"""What a session may take."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    folder = tmp_path_factory.mktemp("served")
    with serving_http(folder, LFEXP_HTTP_TOKEN=TOKEN, LFEXP_LOG_FORMAT="json") as found:
        yield found


def records(server: HttpServer) -> list[dict[str, JsonValue]]:
    """What the log holds; lines for people come before."""
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def memory_bytes(server: HttpServer) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_health_is_told_to_anyone_and_nothing_else_is(server: HttpServer) -> None:
    answer = server.http.get(server.url.replace("/mcp", "/healthz"))
    assert (answer.status_code, answer.text) == (200, "ok\n")
    for path in ("/", "/healthz/", "/docs", "/mcp/x", "/.well-known/oauth-protected-resource"):
        assert server.http.get(server.url.replace("/mcp", path)).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Origin": "https://evil.test"}, 403),
        ({"Host": "evil.test"}, 421),
        ({"Host": "127.0.0.1.evil.test"}, 421),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
def test_a_request_that_should_not_be_served_is_not(server: HttpServer, headers: dict[str, str], status: int) -> None:
    answer = server.post(**{"Authorization": f"Bearer {TOKEN}", **headers})
    assert answer.status_code == status
    assert "mcp-session-id" not in answer.headers


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: HttpServer) -> None:
    before = memory_bytes(server)
    padded = {**INITIALIZE, "padding": "x" * 8 * MEGABYTE}
    assert server.post(TOKEN, padded).status_code == 413
    assert memory_bytes(server) - before < 32 * MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_three_hundred_sessions_are_served_beside_callers_that_stall_or_are_not_let_in(server: HttpServer) -> None:
    address = ("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
    head = f"POST /mcp HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {TOKEN}\r\n"
    stalled = [socket.create_connection(address) for _ in range(20)]
    for connection in stalled:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{{".encode())
    assert server.post(TOKEN).status_code == 200
    before = memory_bytes(server)
    with ThreadPoolExecutor(8) as pool:
        let_in = list(pool.map(lambda _: server.post(TOKEN), range(SESSIONS)))
        refused = list(pool.map(lambda _: server.post("wrong"), range(SESSIONS)))
    assert {answer.status_code for answer in let_in} == {200}
    assert len({answer.headers["mcp-session-id"] for answer in let_in}) == SESSIONS
    assert {answer.status_code for answer in refused} == {401}
    assert memory_bytes(server) - before < SESSIONS * SESSION_BYTES
    for answer in (let_in[0], let_in[-1]):
        asked = server.post(
            TOKEN,
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
            **{"mcp-session-id": answer.headers["mcp-session-id"]},
        )
        assert "run_experiment" in asked.text
    for connection in stalled:
        connection.close()


def test_the_log_holds_requests_and_calls_as_json_and_no_secret(server: HttpServer) -> None:
    session = server.post(TOKEN).headers["mcp-session-id"]
    call: JsonValue = {"name": "list_runs", "arguments": {"dataset": "a-name-from-a-caller"}}
    server.post(
        TOKEN,
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call},
        **{"mcp-session-id": session},
    )
    server.http.get(server.url.replace("/mcp", "/%1b[31mred"))
    found = wait_until(lambda: [record for record in records(server) if record.get("tool") == "list_runs"], bool)
    assert [(record["logger"], record["outcome"]) for record in found] == [("lfexp_mcp.call", "error")]
    requests = [record for record in records(server) if record["logger"] == "lfexp_mcp.request"]
    assert any({"method": "POST", "path": "/mcp", "status": 200}.items() <= each.items() for each in requests)
    assert any({"method": "GET", "path": "/\x1b[31mred", "status": 404}.items() <= each.items() for each in requests)
    log = server.log.read_text()
    assert TOKEN not in log
    assert "a-name-from-a-caller" not in log
    assert "\x1b" not in log


@pytest.mark.skipif(sys.platform == "win32", reason="a signal ends a process at once there")
def test_a_server_that_is_stopped_ends_though_callers_still_listen(tmp_path: Path) -> None:
    with serving_http(tmp_path, LFEXP_HTTP_TOKEN=TOKEN) as server:
        session = server.post(TOKEN).headers["mcp-session-id"]
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {TOKEN}", "mcp-session-id": session}
        with httpx.stream("GET", server.url, headers=headers, timeout=PATIENCE_S) as listening:
            assert listening.status_code == 200
            server.process.send_signal(signal.SIGTERM)
            try:
                code = server.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                pytest.fail("it still serves")
    assert code in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log.read_text()
