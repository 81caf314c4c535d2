"""Answers to stdio requests that the SDK's parser rejects.

The SDK drops such a line silently (a lone surrogate, nesting of 200 levels, an integer of 5,000 digits), and its caller
waits until it gives up. Here it gets an error response, if its id can be read.
"""

import json
import logging
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, RequestId
from pydantic import ValidationError

Received = SessionMessage | Exception
Send = Callable[[SessionMessage], Awaitable[None]]

logger = logging.getLogger(__name__)

MAX_ID_DIGITS = 18
"""Longer integer ids are not exact in every JSON parser."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@asynccontextmanager
async def answered(
    messages: AsyncIterable[Received], answer: Send
) -> AsyncIterator[MemoryObjectReceiveStream[Received]]:
    """Receive a client's messages; lines that are not valid messages are answered with an error, or logged.

    Args:
        messages: What the SDK's transport read; for a rejected line, its parser's error.
        answer: Sends a message to the client.
    """
    sending, received = anyio.create_memory_object_stream[Received]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_relay, messages, sending, answer)
        yield received
        tasks.cancel_scope.cancel()


async def _relay(messages: AsyncIterable[Received], sending: MemoryObjectSendStream[Received], answer: Send) -> None:
    async with sending:
        async for item in messages:
            if isinstance(item, ValidationError):
                await _refuse(item, answer)
                continue
            try:
                await sending.send(item)
            except anyio.BrokenResourceError:
                return


async def _refuse(error: ValidationError, answer: Send) -> None:
    details = error.errors(include_url=False, include_context=False)
    is_json = details[0]["type"] != "json_invalid"
    reason = "It is not a JSON-RPC message" if is_json else details[0]["msg"]
    # For a wrong member the input is that member, for a missing one the whole message.
    whole = (each["input"] for each in details if each["type"] in ("json_invalid", "missing"))
    request_id = _id_of(next(whole, ""))
    if request_id is None:
        logger.warning("Dropped a line on stdin that has no id to answer to. %s.", reason)
        return
    problem = ErrorData(
        code=INVALID_REQUEST if is_json else PARSE_ERROR,
        message=f"The request cannot be read. {reason}. Correct it and send it again.",
    )
    await answer(SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=problem)))


def _id_of(request: str | dict[str, object]) -> RequestId | None:
    """Return the id of a request; None if it is not a request, or its id cannot be read.

    Args:
        request: The parsed message, or its line if that cannot be parsed.
    """
    members = {name: json.dumps(value) for name, value in request.items()} if isinstance(request, dict) else {}
    members = members or dict(_members(str(request)))
    if "method" not in members:
        return None
    written = members.get("id", "")
    if re.fullmatch(rf"-?\d{{1,{MAX_ID_DIGITS}}}", written):
        return int(written)
    return _text(written) if written.startswith('"') else None


def _members(line: str) -> Iterator[tuple[str, str]]:
    """Yield the members of a JSON object, each with the first token of its value.

    Works on tokens without parsing, so that no nesting and no number is too much.
    """
    depth, place, name = 0, "", None
    for token in _TOKEN.findall(line):
        if depth == 1 and place == ":" and name is not None:
            yield name, token
        name = _text(token) if depth == 1 and place in ("{", ",") and token.startswith('"') else name
        depth += (token in ("{", "[")) - (token in ("}", "]"))
        place = token


def _text(token: str) -> str | None:
    """Read a JSON string; None if it is broken or not valid UTF-8."""
    try:
        text = json.loads(token)
        text.encode()
    except ValueError:
        return None
    return text if isinstance(text, str) else None
