"""The HTTP server as a process, among callers that should not be served and many that should."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from lfexp_mcp.tools.http_middleware import MAX_PER_CALLER
from tests.tools.remote import HEADERS, INITIALIZE, HttpServer, Issuer, serving_http, serving_issuer
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

TOKEN = "a-token-that-nobody-may-see"
SESSIONS = 300
MEGABYTE = 1024**2
SESSION_BYTES = MEGABYTE // 2
"""What a session may take."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with serving_issuer() as served:
        yield served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[HttpServer]:
    variables = {
        "LFEXP_HTTP_TOKEN": TOKEN,
        "LFEXP_HTTP_URL": issuer.audience,
        "LFEXP_LOG_FORMAT": "json",
        "LFEXP_OAUTH_ISSUER": issuer.url,
        "LFEXP_OAUTH_JWKS_URL": issuer.jwks_url,
        "LFEXP_OAUTH_SCOPES": "experiments",
    }
    with serving_http(tmp_path_factory.mktemp("served"), **variables) as found:
        yield found


def opened(server: HttpServer, token: str) -> dict[str, str]:
    """Open a session, and return the header that names it."""
    return {"mcp-session-id": server.post(token).headers["mcp-session-id"]}


LIST: JsonValue = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


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
    authorized = HEADERS | {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    # In chunks, it does not say how long it is.
    chunked = server.http.post(server.url, content=(b" " * MEGABYTE for _ in range(8)), headers=authorized)
    assert chunked.status_code == 413
    assert memory_bytes(server) - before < 32 * MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_three_hundred_sessions_of_one_caller_leave_room_for_others_beside_callers_that_stall_or_are_not_let_in(
    server: HttpServer, issuer: Issuer
) -> None:
    address = ("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
    head = f"POST /mcp HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {TOKEN}\r\n"
    stalled = [socket.create_connection(address) for _ in range(20)]
    for connection in stalled:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{{".encode())
    alice = issuer.token()
    session_of_alice = opened(server, alice)
    before = memory_bytes(server)
    with ThreadPoolExecutor(8) as pool:
        let_in = list(pool.map(lambda _: server.post(TOKEN), range(SESSIONS)))
        refused = list(pool.map(lambda _: server.post("wrong"), range(SESSIONS)))
    assert {answer.status_code for answer in let_in} == {200}
    assert {answer.status_code for answer in refused} == {401}
    assert not any("mcp-session-id" in answer.headers for answer in refused)
    assert memory_bytes(server) - before < MAX_PER_CALLER * SESSION_BYTES
    ids = [answer.headers["mcp-session-id"] for answer in let_in]
    assert len(set(ids)) == SESSIONS
    oldest = server.post(TOKEN, LIST, **{"mcp-session-id": ids[0]})
    assert oldest.status_code == 404
    assert "run_experiment" in server.post(TOKEN, LIST, **{"mcp-session-id": ids[-1]}).text
    assert "run_experiment" in server.post(alice, LIST, **session_of_alice).text
    for connection in stalled:
        connection.close()


def test_a_session_is_its_callers_whatever_token_it_comes_with_and_nobody_elses(
    server: HttpServer, issuer: Issuer
) -> None:
    session = opened(server, issuer.token(jti="1"))
    others = {
        "bob": issuer.token(sub="bob"),
        "static": TOKEN,
        "of its name": issuer.token(sub="static-token"),
    }
    resuming = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    for name, token in others.items():
        for method, more in (("GET", {}), ("GET", resuming), ("DELETE", {})):
            sent = HEADERS | session | more | {"Authorization": f"Bearer {token}"}
            answer = server.http.request(method, server.url, headers=sent)
            unknown = server.http.request(method, server.url, headers=sent | {"mcp-session-id": "0" * 32})
            assert (answer.status_code, answer.content) == (404, unknown.content), (name, method)
        assert server.post(token, LIST, **session).status_code == 404
    assert server.post(None, LIST, **session).status_code == 401
    assert server.post(issuer.token(jti="2", scope="profile"), LIST, **session).status_code == 403
    assert server.post(issuer.token(jti="2"), LIST, **session).status_code == 200
    assert server.post(issuer.token(), LIST, **opened(server, TOKEN)).status_code == 404
    ended = HEADERS | session | {"Authorization": f"Bearer {issuer.token(jti='3')}"}
    assert server.http.delete(server.url, headers=ended).status_code == 200
    assert server.post(issuer.token(jti="1"), LIST, **session).status_code == 404


def test_a_stream_ends_with_the_token_that_opened_it(server: HttpServer, issuer: Issuer) -> None:
    token = issuer.token(exp=int(time.time()) + 2)
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}", **opened(server, token)}
    with server.http.stream("GET", server.url, headers=headers) as listening:
        assert listening.status_code == 200
        assert not [line for line in listening.iter_lines() if line.startswith("data:")]
    assert server.http.get(server.url, headers=headers).status_code == 401
    headers["Authorization"] = f"Bearer {issuer.token()}"
    with server.http.stream("GET", server.url, headers=headers) as listening:
        assert listening.status_code == 200


def test_a_refusal_names_what_is_needed_and_repeats_nothing_that_was_sent(server: HttpServer, issuer: Issuer) -> None:
    metadata = f'resource_metadata="{issuer.audience.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")}"'
    expected = {
        None: (401, f'Bearer realm="lfexp-mcp", {metadata}'),
        'wr"ong': (401, f'Bearer realm="lfexp-mcp", error="invalid_token", {metadata}'),
        issuer.token(scope="experiments:read"): (
            403,
            f'Bearer realm="lfexp-mcp", error="insufficient_scope", scope="experiments", {metadata}',
        ),
    }
    hostile = {"X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "ftp", "Forwarded": "host=evil.test"}
    for token, (status, challenge) in expected.items():
        answer = server.post(token, **hostile)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (status, challenge)
        assert not token or token not in answer.text
    url = server.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert server.http.get(url, headers=hostile).json()["resource"] == issuer.audience


def test_the_log_holds_requests_and_calls_as_json_and_no_secret(server: HttpServer, issuer: Issuer) -> None:
    session = server.post(TOKEN).headers["mcp-session-id"]
    call: JsonValue = {"name": "list_runs", "arguments": {"dataset": "a-name-from-a-caller"}}
    server.post(
        TOKEN,
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call},
        **{"mcp-session-id": session},
    )
    server.http.get(server.url.replace("/mcp", "/%1b[31mred"))
    server.http.get(server.url.replace("/mcp", "/%0a%7b%22level%22:%22INFO%22%7d%e2%80%a8"))
    server.http.get(f"{server.url}?access_token={TOKEN}")
    server.post(issuer.token(sub="alice@example.com"))
    found = wait_until(lambda: [record for record in records(server) if record.get("tool") == "list_runs"], bool)
    assert [(record["logger"], record["outcome"]) for record in found] == [("lfexp_mcp.call", "error")]
    requests = [record for record in records(server) if record["logger"] == "lfexp_mcp.request"]
    assert any({"method": "POST", "path": "/mcp", "status": 200}.items() <= each.items() for each in requests)
    assert any({"method": "GET", "path": "/\x1b[31mred", "status": 404}.items() <= each.items() for each in requests)
    (call_request,) = [each for each in requests if each["request"] == found[0]["request"]]
    assert call_request["caller"] == found[0]["caller"] is not None
    assert len({each["caller"] for each in requests}) > 2, "nobody, and two callers at least"
    log = server.log.read_text()
    assert TOKEN not in log
    assert "alice@example.com" not in log
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
