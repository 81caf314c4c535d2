"""Who reaches the HTTP server: by headers, and by how long a connection keeps it waiting."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import httpx
import pytest
import uvicorn
from anyio.to_thread import run_sync
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from pydantic import SecretStr
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lfexp_mcp.cli.app import run_command
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.http import TimedProtocol
from lfexp_mcp.tools.http_app import build_app, own_pages
from lfexp_mcp.tools.http_middleware import BodyLimits, Shares
from lfexp_mcp.tools.server import build_server
from tests.waiting import PATIENCE_S

HOST, PORT = "127.0.0.1", 8765
REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def served(port: int) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(Settings(), HOST, port, None)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, headers=ACCEPT) as client:
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        f"localhost:{PORT}.evil.com",
        f"localhost:{PORT}@evil.com",
        "localhost:evil.com",
        "localhost",
        "localhost:80",
        "localhost:1",
        f"127.0.0.1.evil.com:{PORT}",
        f"evil.com:{PORT}",
        f"[::1]:{PORT}1",
        f"localhost.:{PORT}",
    ],
)
async def test_a_host_that_is_not_this_server_is_refused(host: str) -> None:
    async with served(PORT) as client:
        answer = await client.post("http://x/mcp", json=REQUEST, headers={"Host": host})
        assert answer.status_code == 421
        for origin in (f"http://{host}", f"https://localhost:{PORT}", "null"):
            headers = {"Host": f"localhost:{PORT}", "Origin": origin}
            crossing = await client.post("http://x/mcp", json=REQUEST, headers=headers)
            assert crossing.status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize("port", [PORT, 80])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
async def test_this_server_is_accepted_by_each_of_its_names(port: int, name: str) -> None:
    async with served(port) as client:
        for host in [f"{name}:{port}", *([name] if port == 80 else [])]:
            headers = {"Host": host, "Origin": f"http://{host}"}
            answer = await client.post("http://x/mcp", json=REQUEST, headers=headers)
            assert answer.status_code not in (403, 421)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Basic right", "right", "Bearer wrong", "Bearer r\xefght"]
)
async def test_a_request_without_the_token_is_refused_before_anything_else(given: str | None) -> None:
    transport = httpx.ASGITransport(build_app(Settings(), HOST, PORT, SecretStr("right")))
    headers = {} if given is None else {b"Authorization": given.encode("latin-1")}
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.post(f"http://localhost:{PORT}/mcp", json=REQUEST, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="lfexp-mcp"')
    assert "resource_metadata" not in answer.headers["WWW-Authenticate"]
    assert ("error=" in answer.headers["WWW-Authenticate"]) == (given is not None)


@pytest.mark.parametrize("token", ["two words", "tökén", "a\ttab"])
def test_a_token_that_no_header_can_carry_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    monkeypatch.setenv("LFEXP_HTTP_TOKEN", token)
    assert run_command(["serve", "--http", "--port", "1"]) == 2
    error = capsys.readouterr().err
    assert "LFEXP_HTTP_TOKEN" in error
    assert token not in error


def test_a_token_and_no_auth_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LFEXP_HTTP_TOKEN", "a-token")
    assert run_command(["serve", "--http", "--no-auth"]) == 2
    assert "--no-auth" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "log_format"), [("0.0.0.0", "text"), ("192.0.2.5", "text"), ("127.0.0.1", "json")])
def test_no_token_is_made_that_would_stand_in_a_log_which_others_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, log_format: str
) -> None:
    monkeypatch.delenv("LFEXP_HTTP_TOKEN", raising=False)
    monkeypatch.setenv("LFEXP_LOG_FORMAT", log_format)
    assert run_command(["serve", "--http", "--host", host]) == 2
    error = capsys.readouterr().err
    assert "LFEXP_HTTP_TOKEN" in error
    assert "Bearer" not in error


OPEN_TO_OTHERS = ("0.0.0.0", "::", "*", "0", "192.0.2.5", "::ffff:0.0.0.0", "a-name.test")


@pytest.mark.parametrize("host", OPEN_TO_OTHERS)
@pytest.mark.parametrize("arguments", [["--no-auth"], []])
def test_without_authentication_only_this_machine_is_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, arguments: list[str]
) -> None:
    if not arguments:
        monkeypatch.setenv("LFEXP_HTTP_TOKEN", " ")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert run_command(["serve", "--http", "--host", host, "--port", port, *arguments]) == 2
    assert "LFEXP_" in capsys.readouterr().err
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


@pytest.mark.anyio
async def test_a_caller_has_a_share_of_what_is_served_at_once() -> None:
    begun, done = anyio.Event(), anyio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await done.wait()
        await PlainTextResponse("done")(scope, receive, send)

    def user(name: str) -> AuthenticatedUser:
        token = AccessToken(token="", client_id="agent", scopes=[], expires_at=1, claims={"iss": "i", "sub": name})
        return AuthenticatedUser(token)

    statuses: dict[str, list[int]] = {"alice": [], "bob": []}
    shares = Shares(slow, most=1)

    async def call(name: str) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses[name].append(message["status"])

        scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": [], "user": user(name)}
        await shares(scope, receive_nothing, note)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "alice")
        await begun.wait()
        await call("alice")
        tasks.start_soon(call, "bob")
        assert statuses["alice"] == [429]
        # A call goes on when its token expires, as both have: what it began is paid for.
        done.set()
    assert statuses == {"alice": [429, 200], "bob": [200]}
    await call("alice")
    assert statuses["alice"] == [429, 200, 200]


async def receive_nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


class ImpatientProtocol(TimedProtocol):
    """Gives a head of a request little time."""

    headers_timeout_s = 0.05


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[Callable[..., str]]:
    """Serve on a port of this machine; what is yielded sends bytes and returns all that comes back until the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, http=ImpatientProtocol, ws="none", lifespan="off", log_config=None))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            yield partial(_exchange, listener.getsockname())
            server.should_exit = True


def _exchange(address: tuple[str, int], *chunks: bytes) -> str:
    """Send chunks, each but the first when something has come back for the one before."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        received = []
        for chunk in chunks:
            connection.sendall(chunk)
            received.append(connection.recv(65_536))
        return b"".join([*received, *iter(lambda: connection.recv(65_536), b"")]).decode()


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("sent", [b"", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_connection_without_a_whole_head_is_closed(sent: bytes) -> None:
    async with listening(build_app(Settings(), HOST, PORT, None)) as exchange:
        assert await run_sync(exchange, sent) == ""


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(
    "head",
    [
        f"POST /mcp HTTP/1.1\r\nHost: localhost:{PORT}\r\nHost: evil.com\r\n\r\n",
        f"POST http://evil.com/mcp HTTP/1.1\r\nHost: localhost:{PORT}\r\n\r\n",
        f"POST //evil.com/mcp HTTP/1.1\r\nHost: localhost:{PORT}\r\n\r\n",
        "POST /mcp HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_request_that_names_several_hosts_or_none_reaches_nothing(head: str) -> None:
    async with listening(build_app(Settings(), HOST, PORT, None)) as exchange:
        answer = await run_sync(exchange, head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
    assert answer.split(" ")[1] in ("400", "404", "421")


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_connection_that_stalls_in_its_second_request_is_closed() -> None:
    whole = b"GET /mcp HTTP/1.1\r\nHost: evil.com\r\n\r\n"
    async with listening(build_app(Settings(), HOST, PORT, SecretStr("token"))) as exchange:
        answer = await run_sync(exchange, whole, b"GET /mcp HT")
    assert answer.startswith("HTTP/1.1 401")


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_body_that_does_not_arrive_is_answered_and_its_connection_closed() -> None:
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: localhost:{PORT}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    app = build_server().streamable_http_app(transport_security=own_pages(f"http://{HOST}:{PORT}/mcp", HOST, PORT))
    async with app.router.lifespan_context(app), listening(BodyLimits(app, seconds=0.05)) as exchange:
        answer = await run_sync(exchange, head.encode() + b"{")
        assert answer.startswith("HTTP/1.1 408")
        assert answer.count("HTTP/1.1") == 1
        whole = head.replace("100", "2").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
        assert not (await run_sync(exchange, whole.encode() + b"{}")).startswith("HTTP/1.1 408")
