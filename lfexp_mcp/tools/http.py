"""Serving MCP over Streamable HTTP, to callers that are let in and do not keep the server waiting."""

import asyncio
import re
import secrets
import socket
from collections.abc import Callable

import anyio
import uvicorn
from pydantic import SecretStr
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from lfexp_mcp.errors import UsageError
from lfexp_mcp.loopback import listen_on
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.http_app import build_app, server_url
from lfexp_mcp.tools.http_middleware import RequestLog
from lfexp_mcp.tools.server_log import log_to_stderr

TOKEN_BYTES = 32
HEADERS_TIMEOUT_S = 10.0
"""Time for a connection to send the headers of a request."""
MAX_CONNECTIONS = 500
"""Connections held at once; further ones are answered 503."""
SHUTDOWN_S = 10
"""Time for calls that wait to be answered when the server is stopped. Runs go on in their own processes."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What a bearer token may consist of (https://www.rfc-editor.org/rfc/rfc6750#section-2.1)."""


def new_token() -> SecretStr:
    """Create a random token."""
    return SecretStr(secrets.token_urlsafe(TOKEN_BYTES))


def serve_http(
    settings: Settings, host: str, port: int, token: SecretStr | None, listening: Callable[[str], None]
) -> None:
    """Serve Streamable HTTP to callers that are let in, and send this server's Host and Origin.

    Args:
        settings: Where to work, and whose access tokens to accept.
        host: The address to listen on.
        port: The port to listen on, at path `/mcp`.
        token: Bearer token that lets callers in; None with no OAuth issuer lets in every local program, which can then
            run code.
        listening: Called with the server's URL once it listens.

    Raises:
        UsageError: The address cannot be listened on, would be open to everyone, or the settings do not fit together.
    """
    log_to_stderr(settings.log_format)
    if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
        raise UsageError("LFEXP_HTTP_TOKEN cannot be a bearer token: use letters, digits and `-._~+/` only.")
    app = RequestLog(build_app(settings, host, port, token))
    with _listener(host, port) as listener:
        listening(server_url(settings, host, port))
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=SHUTDOWN_S,
            log_config=None,
            access_log=False,
        )
        anyio.run(uvicorn.Server(config).serve, [listener])


def _listener(host: str, port: int) -> socket.socket:
    try:
        return listen_on(host, port)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Cannot listen on port {port} of {host} ({getattr(error, 'strerror', None) or error}). "
            "Stop what uses it, or pass another --port."
        ) from error


class TimedProtocol(H11Protocol):
    """Closes connections that do not send request headers in time; uvicorn would keep them open forever."""

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
