"""Whose Langfuse keys a request over HTTP works with: the server's, or those of its caller."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, principal_components
from mcp.server.context import ServerRequestContext
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lfexp_mcp.errors import CredentialsError, UsageError
from lfexp_mcp.files import open_regular

if TYPE_CHECKING:
    from lfexp_mcp.settings import Settings

PUBLIC_KEY, SECRET_KEY, HOST = "X-Langfuse-Public-Key", "X-Langfuse-Secret-Key", "X-Langfuse-Host"
"""Headers of callers that bring their own keys. The host may only repeat the server's: callers cannot choose it."""
MAX_FILE_BYTES = 1024**2

NOBODY = AccessToken(token="", client_id="", scopes=[])
"""Whoever calls a server without authentication."""

_SCOPE_KEY = "lfexp_mcp.caller"
REQUEST_KEY = "lfexp_mcp.request"
"""Where a request has its id for the log."""


class Caller(BaseModel):
    """The Langfuse keys of a caller. Callers with equal keys are the same: they work on one project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # A colon would end the key in Basic authentication, and move the rest into the secret.
    public_key: Annotated[str, Field(pattern=r"^[!-9;-~]{1,200}$")]
    secret_key: Annotated[SecretStr, Field(min_length=1, max_length=200)]

    @cached_property
    def id(self) -> str:
        """Names the caller, of whose keys it tells nothing."""
        keys = [self.public_key, self.secret_key.get_secret_value()]
        return hashlib.sha256(json.dumps(["lfexp-caller-v1", *keys]).encode()).hexdigest()[:32]

    def settings(self, server: Settings) -> Settings:
        """Return the server's settings with the caller's keys, and with a home that no other caller has."""
        changes = {
            "langfuse_public_key": self.public_key,
            "langfuse_secret_key": self.secret_key,
            "home": server.home / "callers" / self.id,
        }
        return server.model_copy(update=changes)


_CALLERS = TypeAdapter(dict[str, Caller])


def read_callers(path: Path) -> Mapping[str, Caller]:
    """Read which keys each subject of an access token works with.

    Args:
        path: A JSON file: `{"alice": {"public_key": "pk-lf-...", "secret_key": "sk-lf-..."}}`.

    Raises:
        UsageError: It cannot be read.
    """
    with open_regular(path, "file of LFEXP_CALLER_KEYS", MAX_FILE_BYTES) as file:
        content = file.read()
    try:
        return _CALLERS.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"LFEXP_CALLER_KEYS: {place} of {path} is invalid ({first['msg']}). Correct it.") from None


@dataclass(frozen=True, slots=True)
class CallerKeys:
    """Finds the keys of each request's caller, or refuses it; the server's own are then nobody's.

    Args:
        app: What serves the request.
        langfuse_url: The only Langfuse that callers may use.
        known: By subject of the access token; None takes them from the request's headers.
    """

    app: ASGIApp
    langfuse_url: str
    known: Mapping[str, Caller] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller, or refuse it."""
        try:
            user = scope.get("user")
            token = user.access_token if isinstance(user, AuthenticatedUser) else NOBODY
            caller = self._by_header(Headers(scope=scope)) if self.known is None else self._by_subject(token.subject)
        except CredentialsError as error:
            body = {"error": "access_denied", "error_description": str(error)}
            await JSONResponse(body, 403)(scope, receive, send)
            return
        # The SDK keeps a session to the caller who began it, as which it takes token, issuer and subject.
        owner = token.model_copy(update={"subject": json.dumps([token.subject, caller.id])})
        # In place, so that the log tells callers apart, too.
        scope.update({"user": AuthenticatedUser(owner), _SCOPE_KEY: caller})
        await self.app(scope, receive, send)

    def _by_subject(self, subject: str | None) -> Caller:
        caller = None if subject is None or self.known is None else self.known.get(subject)
        if caller is None:
            raise CredentialsError("This server has no Langfuse keys for you. Ask whoever runs it.")
        return caller

    def _by_header(self, headers: Headers) -> Caller:
        given = {name: headers.getlist(name) for name in (PUBLIC_KEY, SECRET_KEY, HOST)}
        if len(given[PUBLIC_KEY]) != 1 or len(given[SECRET_KEY]) != 1:
            raise CredentialsError(f"Send the keys of your Langfuse project, once each: {PUBLIC_KEY} and {SECRET_KEY}.")
        if any(host.rstrip("/") != self.langfuse_url.rstrip("/") for host in given[HOST]):
            raise CredentialsError(f"{HOST} is not the Langfuse of this server. Leave it out.")
        try:
            return Caller(public_key=given[PUBLIC_KEY][0], secret_key=SecretStr(given[SECRET_KEY][0]))
        except ValidationError:
            raise CredentialsError(f"{PUBLIC_KEY} or {SECRET_KEY} is not a key of a Langfuse project.") from None


def caller_of(request: Any) -> Caller | None:  # noqa: ANN401 - of any transport
    """Return the caller of a request; None over stdio, and where all callers work with the server's keys."""
    caller = None if request is None else request.scope.get(_SCOPE_KEY)
    return caller if isinstance(caller, Caller) else None


def principal_of(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """Tell who sends a request, across sessions and tokens; None where all callers are one."""
    return None if ctx.request is None else _principal(ctx.request.scope.get("user"))


def holder_of(user: object) -> str:
    """Tell whose token a request has, whatever keys it brings and whichever client sends it."""
    token = user.access_token if isinstance(user, AuthenticatedUser) else NOBODY
    claims = token.claims or {"client_id": token.client_id}
    return json.dumps([claims.get("client_id"), claims.get("iss"), claims.get("sub")])


def log_fields(scope: Mapping[str, Any] | None) -> dict[str, str | None]:
    """Return what the log says of a request: its id, and its caller.

    A caller is the start of a SHA-256 of `["<client>", "<issuer>", "<subject>"]`: it finds the lines of a caller who is
    known, and does not tell who one is. Of callers with keys of their own, these are part of the subject.
    """
    if scope is None:
        return {}
    principal = _principal(scope.get("user"))
    caller = None if principal is None else hashlib.sha256(principal.encode()).hexdigest()[:16]
    return {"caller": caller, "request": scope.get(REQUEST_KEY)}


def _principal(user: object) -> str | None:
    return json.dumps(principal_components(user.access_token)) if isinstance(user, AuthenticatedUser) else None
