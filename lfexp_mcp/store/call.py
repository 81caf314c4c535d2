"""One request as a route sees it (query, body and path, checked and typed), and functions as Starlette endpoints."""

import gzip
import io
import json
import sqlite3
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticSerializationError, to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lfexp_mcp.store.database import Database
from lfexp_mcp.store.http_errors import ApiError, BadRequestError, InvalidRequestError, TooLargeError
from lfexp_mcp.strict_json import strict_loads

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of a body, before and after decompression."""


Model = TypeVar("Model", bound=BaseModel)


class Fields(BaseModel):
    """Base of query strings and bodies: camelCase in JSON, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its body already read."""

    database: Database
    request: Request
    content: bytes

    def query(self, model: type[Model]) -> Model:
        """Read the query string; a parameter given several times is a list."""
        parameters = self.request.query_params
        values = {name: parameters.getlist(name) for name in parameters}
        return _read(model, {name: found if len(found) > 1 else found[0] for name, found in values.items()})

    def json(self) -> JsonValue:
        """Read the body as JSON, strictly: no NaN, no broken Unicode."""
        try:
            return strict_loads(self.content.decode("utf-8"))
        except ValueError as error:
            raise BadRequestError(f"Invalid JSON in the body: {error}") from error

    def body(self, model: type[Model]) -> Model:
        """Read the body as one JSON object."""
        return _read(model, self.json())

    def path(self, name: str) -> str:
        """Return a parameter of the path, decoded."""
        return str(self.request.path_params[name])


def _read(model: type[Model], value: object) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidRequestError.of(error, model) from error


def json_answer(value: JsonValue, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Write a JSON answer."""
    try:
        # In a third of the time that `json` takes, which is a good part of the time of a page.
        content = to_json(value)
    except PydanticSerializationError:
        # It says what is wrong with the text.
        content = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    return Response(content, status, headers, media_type="application/json; charset=utf-8")


Handler: TypeAlias = Callable[[Call], Response | JsonValue]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def endpoint(handler: Handler) -> Endpoint:
    """Make a Starlette endpoint of a route's function; it runs in a thread, since SQLite blocks.

    Args:
        handler: Takes the call; returns the JSON body of a 200 answer, or a response.
    """

    async def answer(request: Request) -> Response:
        try:
            call = Call(request.app.state.database, request, await _content(request))
            result = await run_in_threadpool(handler, call)
            return result if isinstance(result, Response) else json_answer(result)
        except ApiError as error:
            return json_answer(error.body, error.status)
        except ClientDisconnect:
            # Its body is not whole, and nobody reads an answer.
            return Response(status_code=400)
        except UnicodeEncodeError:
            return _refused("Text that is not valid Unicode (a lone surrogate) cannot be stored")
        except OverflowError:
            return _refused("A number is too large")
        except RecursionError:
            return _refused("The JSON is nested too deeply")
        except sqlite3.OperationalError as error:
            busy = {"message": f"The store file is not available: {error}", "error": "ServiceUnavailableError"}
            return json_answer(busy, 503)  # type: ignore[arg-type]

    return answer


def _refused(message: str) -> Response:
    error = BadRequestError(message)
    return json_answer(error.body, error.status)


async def _content(request: Request) -> bytes:
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise TooLargeError(MAX_BODY_BYTES)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise TooLargeError(MAX_BODY_BYTES)
        parts.append(part)
    content = b"".join(parts)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return content
    if encoding == "gzip":
        return await run_in_threadpool(_gunzip, content)
    raise ApiError(415, {"message": f"Unsupported content encoding {encoding!r}", "error": "UnsupportedMediaTypeError"})


def _gunzip(content: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            plain: bytes = stream.read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadRequestError(f"The body is not valid gzip: {error}") from error
    if len(plain) > MAX_BODY_BYTES:
        raise TooLargeError(MAX_BODY_BYTES)
    return plain
