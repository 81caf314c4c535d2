"""A loopback HTTP proxy in front of a store, which goes wrong as told."""

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

SPANS = "/otel/v1/traces"
SCORES = "/api/public/scores"


@dataclass(frozen=True)
class Request:
    """One request that passes."""

    number: int
    method: str
    path: str
    body: bytes

    @property
    def writes(self) -> bool:
        """Whether it brings spans or scores."""
        return self.method == "POST" and (SPANS in self.path or self.path.startswith(SCORES))


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request."""

    status: int | None = None
    """Answered instead of the store's answer."""
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "made up"
    content: bytes | None = None
    """The body; None for one of Langfuse's with the message."""
    delay: float = 0.0
    """Seconds before anything else."""
    close: bool = False
    """The connection ends without an answer."""
    forget_answer: bool = False
    """The store gets the request, but its answer is lost."""


Judgement = Callable[[Request], Fault | None]


def no_faults(_request: Request) -> Fault | None:
    """Let everything pass."""
    return None


class FaultProxy:
    """Forwards to a store; `faults` says for each request what goes wrong, and `gone` takes the server away."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self.faults: Judgement = no_faults
        self.ignored: frozenset[str] = frozenset()
        """Parameters of addresses that the store does not get, as a server ignores those that it does not know."""
        self.requests: list[Request] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.come_back()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_away(self) -> None:
        """Refuse connections, and drop those that are open."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)

    def come_back(self) -> None:
        """Listen, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        # What was being served ends by itself once its connection is gone.
        mine = asyncio.current_task()
        serving = [task for task in asyncio.all_tasks() if task is not mine]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while (request := await self._read(reader)) is not None:
                head, body, parsed = request
                await self._answer(head, body, parsed, writer)
        # asyncio's streams complain of a connection whose task ends as cancelled, as `go_away` lets it.
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes, Request] | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        headers = _headers(head)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        request = Request(len(self.requests), method, path, plain)
        self.requests.append(request)
        return head, body, request

    async def _answer(self, head: bytes, body: bytes, request: Request, writer: asyncio.StreamWriter) -> None:
        fault = self.faults(request)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.close:
                raise ConnectionResetError
            if fault.status is not None:
                writer.write(_made_up(fault))
                await writer.drain()
                return
        answer = await self._forward(head, body)
        if fault is not None and fault.forget_answer:
            raise ConnectionResetError
        writer.write(answer)
        await writer.drain()

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        head = _without_parameters(head, self.ignored)
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            return await self._exchange(head, body, reader, writer)
        finally:
            writer.close()

    async def _exchange(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        lines[1:1] = [b"Connection: close"]
        writer.write(b"\r\n".join(lines) + body)
        answer = await reader.read(-1)
        kept, _, content = answer.partition(b"\r\n\r\n")
        lines = [line for line in kept.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        return b"\r\n".join(lines) + b"\r\n\r\n" + content


def _without_parameters(head: bytes, names: frozenset[str]) -> bytes:
    first, _, rest = head.partition(b"\r\n")
    method, address, version = first.decode().split(" ")
    path, _, query = address.partition("?")
    kept = "&".join(each for each in query.split("&") if each.partition("=")[0] not in names)
    return f"{method} {path}?{kept} {version}".encode() + b"\r\n" + rest if query else head


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _made_up(fault: Fault) -> bytes:
    content = json.dumps({"message": fault.message}).encode() if fault.content is None else fault.content
    headers = {"content-type": "application/json", "content-length": str(len(content)), **fault.headers}
    lines = [f"HTTP/1.1 {fault.status} Made Up", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
