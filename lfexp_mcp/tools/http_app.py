"""The ASGI app behind `serve --http`: who is let in, from which pages, and with how much."""

import logging
import stat
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl, ConfigDict, SecretStr, TypeAdapter
from starlette.applications import Starlette
from starlette.authentication import AuthenticationError
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from lfexp_mcp.errors import UsageError
from lfexp_mcp.loopback import LOOPBACK, is_loopback
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.callers import Caller, CallerKeys, read_callers
from lfexp_mcp.tools.http_middleware import BodyLimits, RequireToken, Shares
from lfexp_mcp.tools.oauth import MIN_FETCH_INTERVAL_S, AccessTokens, IssuerKeys, OneToken, Tokens
from lfexp_mcp.tools.server import build_server

_logger = logging.getLogger(__name__)

MAX_SESSIONS = 1_000
"""Sessions held at once; further ones are answered 503. One that is idle for 30 minutes is closed."""
_STANDARD_PORTS = {"http": 80, "https": 443}
"""The ports that a URL, and so a Host header, leaves out."""
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on

_EXACT_URL = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True))
"""An issuer is compared to the letter, so that it must get no slash more."""


def server_url(settings: Settings, host: str, port: int) -> str:
    """Return the URL by which callers reach the server."""
    return settings.http_url or f"http://{LOOPBACK if host in _ANY_ADDRESS else _in_url(host)}:{port}/mcp"


def build_app(settings: Settings, host: str, port: int, token: SecretStr | None) -> Starlette:
    """Build the ASGI app that serves an address.

    Args:
        settings: See `serve_http`.
        host: The address.
        port: Its port.
        token: See `serve_http`.

    Raises:
        UsageError: The settings of OAuth do not fit together.
    """
    if token is None and settings.oauth_issuer is None and not is_loopback(host):
        raise UsageError(
            f"Without authentication, everyone who reaches {host!r} could run code as you. Set LFEXP_HTTP_TOKEN or "
            "LFEXP_OAUTH_ISSUER, or serve on 127.0.0.1."
        )
    _check_folders(settings.script_folders or ())
    url = server_url(settings, host, port)
    issued = _access_tokens(settings, url)
    served = build_server(settings, remote=True).streamable_http_app(
        transport_security=own_pages(url, host, port), max_sessions=MAX_SESSIONS
    )
    app: ASGIApp = Shares(BodyLimits(served))
    if settings.caller_keys != "server":
        app = CallerKeys(app, settings.langfuse_url, _known_callers(settings, token))
    routes: list[BaseRoute] = [Route("/healthz", _health)]
    if token is not None or issued is not None:
        metadata_url = None
        if issued is not None:
            resource, issuer = (_EXACT_URL.validate_python(each) for each in (url, settings.oauth_issuer))
            metadata_url = build_resource_metadata_url(resource)
            routes += create_protected_resource_routes(resource, [issuer], list(settings.oauth_scopes) or None)
        backend = OneToken(Tokens(token, settings.oauth_scopes, issued))
        app = RequireToken(app, settings.oauth_scopes, None if metadata_url is None else str(metadata_url))
        app = AuthenticationMiddleware(app, backend, on_error=_unavailable)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with served.router.lifespan_context(served):
            yield

    outer = Starlette(routes=[*routes, Route("/mcp", app)], lifespan=lifespan)
    # It would repeat the Host header of a stranger.
    outer.router.redirect_slashes = False
    return outer


def _check_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir() or folder.parent == folder:
            raise UsageError(f"LFEXP_SCRIPT_FOLDERS: {folder} is not a folder, or is the whole disk. Correct it.")
        if folder.stat().st_mode & stat.S_IWOTH:
            _logger.warning("LFEXP_SCRIPT_FOLDERS: every user of this machine can put scripts into %s", folder)


def _known_callers(settings: Settings, token: SecretStr | None) -> Mapping[str, Caller] | None:
    if not isinstance(settings.caller_keys, Path):
        return None
    if settings.oauth_issuer is None or token is not None:
        raise UsageError(
            "LFEXP_CALLER_KEYS names a file, which tells callers apart by their access tokens: set LFEXP_OAUTH_ISSUER, "
            "and no LFEXP_HTTP_TOKEN."
        )
    return read_callers(settings.caller_keys)


def _access_tokens(settings: Settings, url: str) -> AccessTokens | None:
    if settings.oauth_issuer is None:
        if settings.oauth_jwks_url or settings.oauth_audience or settings.oauth_scopes:
            raise UsageError("LFEXP_OAUTH_* is set, but not LFEXP_OAUTH_ISSUER. Set it, or unset the others.")
        return None
    if settings.oauth_jwks_url is None:
        raise UsageError(
            "LFEXP_OAUTH_JWKS_URL is not set. Set it to the `jwks_uri` in "
            f"{settings.oauth_issuer.rstrip('/')}/.well-known/openid-configuration."
        )
    keys = IssuerKeys(settings.oauth_jwks_url)
    return AccessTokens(settings.oauth_issuer, settings.oauth_audience or url, keys)


def own_pages(url: str, host: str, port: int) -> TransportSecuritySettings:
    """Allow exactly the Host and Origin headers of this server; the SDK's `localhost:*` only compares a prefix."""
    here = [
        f"http://{_in_url(name)}:{port}" for name in (LOOPBACK, "localhost", "::1", host) if name not in _ANY_ADDRESS
    ]
    origins = list(dict.fromkeys(origin for each in (*here, url) for origin in _origins(each)))
    return TransportSecuritySettings(
        allowed_hosts=[urlsplit(origin).netloc for origin in origins], allowed_origins=origins
    )


def _origins(url: str) -> Iterator[str]:
    """Yield the origin of a URL, with its port and, where that may be left out, without."""
    parts = urlsplit(url)
    name, standard = _in_url(parts.hostname or ""), _STANDARD_PORTS[parts.scheme]
    yield f"{parts.scheme}://{name}:{parts.port or standard}"
    if (parts.port or standard) == standard:
        yield f"{parts.scheme}://{name}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _unavailable(_request: HTTPConnection, error: AuthenticationError) -> Response:
    """Answer that it cannot be told whose token it is."""
    body = {"error": "temporarily_unavailable", "error_description": str(error)}
    return JSONResponse(body, 503, {"Retry-After": f"{MIN_FETCH_INTERVAL_S:.0f}"})
