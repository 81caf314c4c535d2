"""Requests on stdio that the SDK's parser refuses: each gets an error as its answer, where its id can be read.

The SDK drops such a line without a word (a lone surrogate, nesting of 200 levels, an integer of 5,000 digits), and its
caller waits until it gives up.
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
"""Digits of an integer id that every JSON reader keeps exactly."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@asynccontextmanager
async def answered(
    messages: AsyncIterable[Received], answer: Send
) -> AsyncIterator[MemoryObjectReceiveStream[Received]]:
    """Receive a client's messages without the lines that are none, which are answered or logged.

    Args:
        messages: What the SDK's transport read; a line that it refused is the error of its parser.
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
    # A wrong member is told with that member as its input, one that lacks with the whole message.
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
    """Return the id of a request; None for what is no request or whose id cannot be told.

    Args:
        request: The parsed message, or its line where that cannot be parsed.
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
    """Yield the members of a JSON object, each with the first token of its value, whatever is nested in them.

    Nothing is parsed, so that no depth and no number is too much.
    """
    depth, place, name = 0, "", None
    for token in _TOKEN.findall(line):
        if depth == 1 and place == ":" and name is not None:
            yield name, token
        name = _text(token) if depth == 1 and place in ("{", ",") and token.startswith('"') else name
        depth += (token in ("{", "[")) - (token in ("}", "]"))
        place = token


def _text(token: str) -> str | None:
    """Read a JSON string; None for one that is broken or no UTF-8."""
    try:
        text = json.loads(token)
        text.encode()
    except ValueError:
        return None
    return text if isinstance(text, str) else None
