"""Serving MCP over Streamable HTTP on loopback."""

import secrets
import socket
import sys
from collections.abc import Callable

import anyio
import uvicorn
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lfexp_mcp.errors import UsageError
from lfexp_mcp.settings import load_settings
from lfexp_mcp.tools.server import build_server, log_to_stderr

LOOPBACK = "127.0.0.1"
SCHEME = "Bearer "


def serve_http(port: int, listening: Callable[[str], None]) -> None:
    """Serve Streamable HTTP on loopback, to callers whose Host and Origin are of this machine and who know the token.

    Args:
        port: The port to listen on, at path `/mcp`.
        listening: Called with the server's URL before it begins.

    Raises:
        UsageError: The port cannot be listened on, or a setting cannot be used.
    """
    log_to_stderr()
    token = load_settings().http_token
    _check_port(port)
    listening(f"http://{LOOPBACK}:{port}/mcp")
    app: ASGIApp = build_server().streamable_http_app(host=LOOPBACK)
    if token is not None:
        app = _TokenGuard(app, token)
    server = uvicorn.Server(uvicorn.Config(app, host=LOOPBACK, port=port, log_level="warning"))
    anyio.run(server.serve)


def _check_port(port: int) -> None:
    """Look whether a port is free: uvicorn would end the process itself, with a line of its own."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            # As the server does, so that the connections of one just stopped do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} of {LOOPBACK} cannot be listened on ({error.strerror}). "
                "Stop what uses it, or take another one with --port."
            ) from error


class _TokenGuard:
    """Answers 401 to requests without the token (https://www.rfc-editor.org/rfc/rfc6750#section-2.1)."""

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._knows(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "Send the token of LFEXP_HTTP_TOKEN as `Authorization: Bearer <token>`.\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        given = authorization.removeprefix(SCHEME).strip().encode()
        return authorization.startswith(SCHEME) and secrets.compare_digest(given, self._token)
