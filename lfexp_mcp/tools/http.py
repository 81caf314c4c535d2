"""Serving MCP over Streamable HTTP on loopback."""

import re
import secrets
import socket
from collections.abc import Callable

import anyio
import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp

from lfexp_mcp.errors import UsageError
from lfexp_mcp.loopback import LOOPBACK, listen_on_loopback
from lfexp_mcp.tools.callers import MAX_CONNECTIONS, BodyTimeout, TimedProtocol, TokenGuard, loopback_only
from lfexp_mcp.tools.server import build_server, log_to_stderr

TOKEN_BYTES = 32

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What a bearer token may consist of (https://www.rfc-editor.org/rfc/rfc6750#section-2.1)."""


def new_token() -> SecretStr:
    """Make a token that nobody guesses."""
    return SecretStr(secrets.token_urlsafe(TOKEN_BYTES))


def serve_http(port: int, token: SecretStr | None, listening: Callable[[str], None]) -> None:
    """Serve Streamable HTTP on loopback, to callers whose Host and Origin are of this server and who know the token.

    Args:
        port: The port to listen on, at path `/mcp`.
        token: What callers have to send; None lets every program of this machine in, which can then run code.
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
    """Build what answers the requests to a port.

    Args:
        port: The one that callers name in their Host header.
        token: What callers have to send; None for nothing.
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
