"""What every request to the HTTP server passes: the log, its token, its caller's share, and limits of its body."""

import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lfexp_mcp.tools.callers import REQUEST_KEY, holder_of, log_fields

_requests = logging.getLogger("lfexp_mcp.request")

BODY_TIMEOUT_S = 30.0
"""Time for a request to send its body."""
BODIES_BYTES = 64 * 1024**2
"""Of the bodies of all requests that are being served; the SDK limits each to 4 MiB."""
MAX_PER_CALLER = 200
"""Sessions that a caller has, and requests of its that are served at once."""
MAX_LOGGED_PATH_CHARS = 200
_SESSION_HEADER = "mcp-session-id"


class RequireToken:
    """Refuses requests without a token, or without its scopes, as RFC 6750 says; see `OneToken`.

    The SDK's own middleware names an error where nothing was sent, and not the scopes that are needed.

    Args:
        app: What serves the others.
        scopes: Those that a token must have, all of them.
        metadata_url: Of the protected resource; None without OAuth, where it would lead nowhere.
    """

    def __init__(self, app: ASGIApp, scopes: Sequence[str], metadata_url: str | None) -> None:
        self._app = app
        self._scopes = scopes
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        user, named = scope.get("user"), {"realm": "lfexp-mcp"}
        if not isinstance(user, AuthenticatedUser):
            status, error, description = 401, "invalid_token", "The token is missing or not valid."
            if "authorization" in Headers(scope=scope):
                named["error"] = error
        elif not set(self._scopes) <= set(user.scopes):
            status, error, description = 403, "insufficient_scope", "The token lacks a scope."
            named |= {"error": error, "scope": " ".join(self._scopes)}
        else:
            await self._app(scope, receive, send)
            return
        if self._metadata_url is not None:
            named["resource_metadata"] = self._metadata_url
        challenge = ", ".join(f'{name}="{value}"' for name, value in named.items())
        body = {"error": error, "error_description": description}
        await JSONResponse(body, status, {"WWW-Authenticate": f"Bearer {challenge}"})(scope, receive, send)


@dataclass(slots=True)
class _Session:
    holder: str
    user: object
    """Who began it, as the SDK was told."""
    used: float
    in_flight: int = 1


class Shares:
    """Leaves room for others, whatever one caller does, and ends a stream with the token that opened it.

    The session that a caller used least recently makes room for a new one, unless a request of it is being served.
    Callers are told apart by what their tokens prove: keys of Langfuse can be invented.
    """

    def __init__(self, app: ASGIApp, most: int = MAX_PER_CALLER) -> None:
        self._app = app
        self._most = most
        self._serving: Counter[str] = Counter()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        """By id, the least recently used first."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 429 if too many of its caller are being served."""
        holder = holder_of(scope.get("user"))
        if self._serving[holder] >= self._most:
            text = f"{self._most} of your requests are being served; wait for one.\n"
            await PlainTextResponse(text, 429, {"Retry-After": "10"})(scope, receive, send)
            return
        self._serving[holder] += 1
        try:
            await self._serve(holder, scope, receive, send)
        finally:
            self._serving[holder] -= 1
            if not self._serving[holder]:
                del self._serving[holder]

    async def _serve(self, holder: str, scope: Scope, receive: Receive, send: Send) -> None:
        named = Headers(scope=scope).get(_SESSION_HEADER)
        session = self._sessions.get(named or "")
        if session is not None:
            session.in_flight += 1
            self._sessions.move_to_end(named or "")

        async def send_noted(message: Message) -> None:
            nonlocal session
            if message["type"] == "http.response.start" and message["status"] < 400:
                opened = Headers(raw=message["headers"]).get(_SESSION_HEADER)
                if scope["method"] == "DELETE":
                    self._sessions.pop(named or "", None)
                elif named is None and opened is not None:
                    session = self._sessions[opened] = _Session(holder, scope.get("user"), anyio.current_time())
            await send(message)

        try:
            await _until_expiry(self._app, scope, receive, send_noted)
        finally:
            if session is not None:
                session.in_flight -= 1
                session.used = anyio.current_time()
            with anyio.CancelScope(shield=True):
                await self._make_room(holder, scope)

    async def _make_room(self, holder: str, scope: Scope) -> None:
        idle = [(name, session) for name, session in self._sessions.items() if not session.in_flight]
        for name, session in idle:
            # The SDK has ended these.
            if anyio.current_time() - session.used > DEFAULT_SESSION_IDLE_TIMEOUT:
                del self._sessions[name]
        own = [(name, session) for name, session in self._sessions.items() if session.holder == holder]
        for name, session in own[: max(len(own) - self._most, 0)]:
            if not session.in_flight:
                del self._sessions[name]
                await self._end(name, session, scope)

    async def _end(self, name: str, session: _Session, scope: Scope) -> None:
        host = [(key, value) for key, value in scope["headers"] if key == b"host"]
        headers = [*host, (_SESSION_HEADER.encode(), name.encode())]

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def ignore(_answer: Message) -> None:
            return

        await self._app({**scope, "method": "DELETE", "headers": headers, "user": session.user}, receive, ignore)


async def _until_expiry(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request; one that only listens, until its token expires: the client comes back with a new one."""
    user = scope.get("user")
    expires = user.access_token.expires_at if isinstance(user, AuthenticatedUser) else None
    if expires is None or scope["method"] != "GET":
        await app(scope, receive, send)
        return
    deadline, is_open = anyio.current_time() + expires - time.time(), False

    async def receive_until_expiry() -> Message:
        with anyio.move_on_after(max(deadline - anyio.current_time(), 0)):
            return await receive()
        return {"type": "http.disconnect"}

    async def send_noted(message: Message) -> None:
        nonlocal is_open
        is_open = message["type"] == "http.response.start" or message.get("more_body", False)
        await send(message)

    await app(scope, receive_until_expiry, send_noted)
    if is_open:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class BodyLimits:
    """Answers 408 if the body of a request does not arrive in time, and 503 if there is no room for it."""

    def __init__(self, app: ASGIApp, seconds: float = BODY_TIMEOUT_S, room: int = BODIES_BYTES) -> None:
        self._app = app
        self._seconds = seconds
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and end it if its body is too slow or the bodies of all are too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = anyio.current_time() + self._seconds
        waiting, refused, taken = True, False, 0

        async def refuse(status: int, text: str) -> Message:
            nonlocal waiting, refused
            waiting, refused = False, True
            await PlainTextResponse(text, status, {"Connection": "close"})(scope, receive, send)
            return {"type": "http.disconnect"}

        async def receive_in_time() -> Message:
            nonlocal waiting, taken
            if not waiting:
                return await receive()
            with anyio.move_on_after(max(deadline - anyio.current_time(), 0)):
                message = await receive()
                waiting = bool(message.get("more_body", False))
                taken += (size := len(message.get("body", b"")))
                self._room -= size
                return message if self._room >= 0 else await refuse(503, "Too many large requests; try again.\n")
            return await refuse(408, f"The body took longer than {self._seconds:g} s.\n")

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, receive_in_time, send_unless_refused)
        finally:
            self._room += taken


class RequestLog:
    """Logs each HTTP request when it has ended: who sent it, its method and path, the status of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), None
        scope[REQUEST_KEY] = secrets.token_hex(4)

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            fields = {
                "method": scope["method"],
                "path": scope["path"][:MAX_LOGGED_PATH_CHARS],
                "status": status,
                "seconds": round(time.monotonic() - started, 3),
                **log_fields(scope),
            }
            _requests.info("%s %s", scope["method"], status, extra={"fields": fields})
