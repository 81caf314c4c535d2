"""Serving MCP over Streamable HTTP on loopback, to programs that know the token and do not keep the server waiting."""

import asyncio
import re
import secrets
import socket
from collections.abc import Callable, Iterator

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from lfexp_mcp.errors import UsageError
from lfexp_mcp.loopback import LOOPBACK, listen_on_loopback
from lfexp_mcp.tools.server import build_server, log_to_stderr

TOKEN_BYTES = 32
HEADERS_TIMEOUT_S = 10.0
"""Time for a connection to send the headers of a request."""
BODY_TIMEOUT_S = 30.0
"""Time for a request to send its body."""
MAX_CONNECTIONS = 500
"""Connections held at once; further ones are answered 503."""
HTTP_PORT = 80
"""The port that a URL, and so a Host header, leaves out."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What a bearer token may consist of (https://www.rfc-editor.org/rfc/rfc6750#section-2.1)."""


def new_token() -> SecretStr:
    """Create a random token."""
    return SecretStr(secrets.token_urlsafe(TOKEN_BYTES))


def serve_http(port: int, token: SecretStr | None, listening: Callable[[str], None]) -> None:
    """Serve Streamable HTTP on loopback, to clients that know the token and send this server's Host and Origin.

    Args:
        port: The port to listen on, at path `/mcp`.
        token: Bearer token that clients must send; None lets in every local program, which can then run code.
        listening: Called with the server's URL once it listens.

    Raises:
        UsageError: The port cannot be listened on, or the token cannot be sent in a header.
    """
    log_to_stderr()
    if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
        raise UsageError("LFEXP_HTTP_TOKEN cannot be a bearer token: use letters, digits and `-._~+/` only.")
    with _listener(port) as listener:
        listening(f"http://{LOOPBACK}:{port}/mcp")
        config = uvicorn.Config(
            build_app(port, token),
            http=TimedProtocol,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            log_level="warning",
        )
        anyio.run(uvicorn.Server(config).serve, [listener])


def build_app(port: int, token: SecretStr | None) -> ASGIApp:
    """Build the ASGI app that serves a port.

    Args:
        port: The port in the clients' Host header.
        token: See `serve_http`.
    """
    app: ASGIApp = build_server().streamable_http_app(host=LOOPBACK, transport_security=loopback_only(port))
    app = BodyTimeout(app)
    return app if token is None else TokenGuard(app, token)


def _listener(port: int) -> socket.socket:
    try:
        return listen_on_loopback(port)
    except OSError as error:
        raise UsageError(
            f"Port {port} of {LOOPBACK} cannot be listened on ({error.strerror}). "
            "Stop what uses it, or take another one with --port."
        ) from error


def loopback_only(port: int) -> TransportSecuritySettings:
    """Allow exactly the Host and Origin headers of this server; the SDK's `localhost:*` only compares a prefix."""
    hosts = list(_hosts(port))
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts])


def _hosts(port: int) -> Iterator[str]:
    for name in ("127.0.0.1", "localhost", "[::1]"):
        yield f"{name}:{port}"
        if port == HTTP_PORT:
            yield name


class TokenGuard:
    """Answers 401 to requests without the token (https://www.rfc-editor.org/rfc/rfc6750#section-2.1)."""

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or self._knows(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "Send the server's token as `Authorization: Bearer <token>`: that of LFEXP_HTTP_TOKEN, or the one that "
            "the server printed when it started.\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self._token)


class BodyTimeout:
    """Answers 408 if the body of a request does not arrive in time."""

    def __init__(self, app: ASGIApp, seconds: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and end it if its body is too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = anyio.current_time() + self._seconds
        waiting, refused = True, False

        async def receive_in_time() -> Message:
            nonlocal waiting, refused
            if not waiting:
                return await receive()
            with anyio.move_on_after(max(deadline - anyio.current_time(), 0)):
                message = await receive()
                waiting = bool(message.get("more_body", False))
                return message
            waiting, refused = False, True
            text = f"The body took longer than {self._seconds:g} s.\n"
            await PlainTextResponse(text, 408, {"Connection": "close"})(scope, receive, send)
            return {"type": "http.disconnect"}

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        await self._app(scope, receive_in_time, send_unless_refused)


class TimedProtocol(H11Protocol):
    """Closes connections that do not send request headers in time; uvicorn would keep them open for ever."""

    headers_timeout_s = HEADERS_TIMEOUT_S
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle received data."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle a closed connection."""
        super().connection_lost(exc)
        self._stop_watching()

    def _watch(self) -> None:
        request: RequestResponseCycle | None = self.cycle
        if request is not None and not request.response_complete:
            self._stop_watching()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.headers_timeout_s, self.transport.close)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
