"""A loopback server that speaks a provider's HTTP, answers as it is told, and counts what it was asked."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import uvicorn
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.providers.batches import Batches
from tests.waiting import PATIENCE_S

Kind = Literal["openai", "anthropic"]
GOOD = '{"reasoning": "Right.", "score": 8}'


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    headers: dict[str, str]
    body: dict[str, JsonValue]

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Role and content of each message, the system message first."""
        listed = self.body["messages"]
        assert isinstance(listed, list)
        found = [(str(entry["role"]), str(entry["content"])) for entry in listed if isinstance(entry, dict)]
        system = self.body.get("system")
        return [("system", str(system)), *found] if system else found

    @property
    def text(self) -> str:
        """What all messages say."""
        return "\n".join(content for _, content in self.messages)


@dataclass(frozen=True)
class Reply:
    """An answer of the model."""

    text: str = GOOD
    ending: Literal["complete", "cut off", "refused"] = "complete"
    input_tokens: int = 100
    output_tokens: int = 20
    metered: bool = True


@dataclass(frozen=True)
class Failure:
    """An error of the provider."""

    status: int
    message: str = "Something went wrong."
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """An answer that is not what the protocol says, such as a proxy's."""

    body: str
    status: int = 200


class Hang:
    """No answer, until the client gives up."""


class Drop:
    """A connection that closes in the middle of the answer."""


Outcome = Reply | Failure | Raw | Hang | Drop
Respond = Callable[[Call], Outcome]


def rate_limited(milliseconds: int = 20) -> Failure:
    """A 429 that asks to wait a little."""
    return Failure(429, "Rate limit reached.", headers={"retry-after-ms": str(milliseconds)})


class ProviderServer:
    """A provider of one kind on loopback.

    Attributes:
        respond: Decides on the outcome of each call; tests set it.
        takes_the_key: Whether the list of models may be read.
        calls: All calls, in the order in which they came.
        input_tokens: Told in all answers together.
        output_tokens: Told in all answers together.
        at_once: The most calls that were under way together.
        batches: The batch endpoints, whose requests are answered by `respond` too and are not among `calls`.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.respond: Respond = lambda _call: Reply()
        self.takes_the_key = True
        self.calls: list[Call] = []
        self.input_tokens = 0
        self.output_tokens = 0
        self.at_once = 0
        self.batches = Batches(kind, self._answer_in_batch)
        self.port = 0
        self._under_way = 0
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """What the provider's SDK takes as its base URL."""
        return f"http://127.0.0.1:{self.port}" + ("/v1" if self.kind == "openai" else "")

    def script(self, *outcomes: Outcome) -> None:
        """Answer the calls with these in turn, and with the last of them from then on."""
        waiting = list(outcomes)

        def respond(_call: Call) -> Outcome:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        self.respond = respond

    def app(self) -> Starlette:
        """The server's application."""
        path = "/v1/chat/completions" if self.kind == "openai" else "/v1/messages"
        return Starlette(
            routes=[
                Route(path, self._answer, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                *self.batches.routes,
            ]
        )

    async def _models(self, request: Request) -> Response:
        if not self.takes_the_key:
            key = request.headers.get("authorization") or request.headers.get("x-api-key")
            return JSONResponse(self._error(Failure(401, f"Invalid key: {key}")), 401)
        return JSONResponse({"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None})

    async def _answer(self, request: Request) -> Response:
        call = Call(dict(request.headers), json.loads(await request.body()))
        with self._lock:
            self.calls.append(call)
            outcome = self.respond(call)
            self._under_way += 1
            self.at_once = max(self.at_once, self._under_way)
        try:
            return await self._render(outcome, call)
        finally:
            with self._lock:
                self._under_way -= 1

    def _answer_in_batch(self, body: dict[str, JsonValue]) -> tuple[int, dict[str, JsonValue]]:
        call = Call({}, body)
        match outcome := self.respond(call):
            case Reply():
                return 200, self._body(outcome, call)
            case Failure():
                return outcome.status, self._error(outcome)
            case _:
                raise AssertionError("a request of a batch is answered or fails")

    def _body(self, reply: Reply, call: Call) -> dict[str, JsonValue]:
        if reply.metered:
            with self._lock:
                self.input_tokens += reply.input_tokens
                self.output_tokens += reply.output_tokens
        body = _openai_body if self.kind == "openai" else _anthropic_body
        return body(reply, str(call.body["model"]))

    async def _render(self, outcome: Outcome, call: Call) -> Response:
        match outcome:
            case Reply():
                body = self._body(outcome, call)
                if call.body.get("stream") is True:
                    return Response(_events(self.kind, outcome, body), media_type="text/event-stream")
                return JSONResponse(body)
            case Failure():
                return JSONResponse(self._error(outcome), outcome.status, headers=outcome.headers)
            case Raw():
                return Response(outcome.body, outcome.status, media_type="application/json")
            case Hang():
                await asyncio.Event().wait()
                raise AssertionError("unreachable")
            case Drop():
                return StreamingResponse(_broken(), headers={"content-length": "1000"}, media_type="application/json")

    def _error(self, failure: Failure) -> dict[str, JsonValue]:
        if self.kind == "openai":
            details: dict[str, JsonValue] = {
                "message": failure.message,
                "type": "error",
                "param": failure.param,
                "code": failure.code,
            }
            return {"error": details}
        return {"type": "error", "error": {"type": failure.code or "api_error", "message": failure.message}}


def _openai_body(reply: Reply, model: str) -> dict[str, JsonValue]:
    refused = reply.ending == "refused"
    body: dict[str, JsonValue] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "length" if reply.ending == "cut off" else "stop",
                "message": {
                    "role": "assistant",
                    "content": None if refused else reply.text,
                    "refusal": reply.text if refused else None,
                },
            }
        ],
    }
    if reply.metered:
        body["usage"] = {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        }
    return body


def _anthropic_body(reply: Reply, model: str) -> dict[str, JsonValue]:
    reasons = {"complete": "end_turn", "cut off": "max_tokens", "refused": "refusal"}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": reply.text}] if reply.text else [],
        "stop_reason": reasons[reply.ending],
        "stop_sequence": None,
        "usage": {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
    }


def _events(kind: Kind, reply: Reply, body: dict[str, JsonValue]) -> str:
    """A reply as the events of a stream, in two parts."""
    parts = (reply.text[:3], reply.text[3:])
    if kind == "openai":
        head = {"id": body["id"], "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        chunks: list[dict[str, object]] = [
            {**head, "choices": [{"index": 0, "delta": {"content": part}}]} for part in parts
        ]
        return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {**body, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}} for part in parts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


async def _broken() -> AsyncIterator[bytes]:
    yield b'{"id": "'
    raise ConnectionResetError("the provider hangs up")


class _Server(uvicorn.Server):
    """Says which port it has got, and ends when it is told to; uvicorn's own notices that later, and then waits."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._loop: asyncio.AbstractEventLoop
        self._told_to_end = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop = asyncio.get_running_loop()
        self._announce(self.servers[0].sockets[0].getsockname()[1])
        await self._told_to_end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    def end(self) -> None:
        """End the server, from another thread."""
        self._loop.call_soon_threadsafe(self._told_to_end.set)


@contextmanager
def serve(kind: Kind) -> Iterator[ProviderServer]:
    """Run a server in a thread of its own."""
    server = ProviderServer(kind)
    started = threading.Event()

    def announce(port: int) -> None:
        server.port = port
        started.set()

    config = uvicorn.Config(
        server.app(),
        host="127.0.0.1",
        port=0,
        log_level="critical",
        lifespan="off",
        # Else a call on a busy machine may go out on a connection that is just being closed, and be made twice.
        timeout_keep_alive=int(PATIENCE_S),
    )
    running = _Server(config, announce)
    thread = threading.Thread(target=running.run, name=f"{kind} server", daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S), "the server did not start"
    try:
        yield server
    finally:
        running.end()
        thread.join(PATIENCE_S)
