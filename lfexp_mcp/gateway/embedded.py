"""Connections to the embedded store.

The store stops by itself after a while without requests, and is started again by the next one. It proves on each
connection that it has the store's secret before the keys are sent.

Requests are written and answers read here, since a general client's pool and parser cost more than all else together
where 100,000 items are stored one by one. What the store sends is simple: each answer states its length (RFC 9112).
"""

import select
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
from anyio.abc import SocketAttribute, SocketStream

from lfexp_mcp.model import Backend
from lfexp_mcp.store.address import CHALLENGE_HEADER, HEALTH, PROOF_HEADER, is_proven, new_challenge
from lfexp_mcp.store.process import ensure_store

PROOF_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 64 * 1024
MAX_UNPROVEN_BYTES = 64 * 1024
"""Of an answer to the challenge."""
KEPT_S = 4.0
"""How long a connection is kept without a request; the store closes it a second later."""
_PART_BYTES = 64 * 1024
_NOT_THE_STORE = "the process listening there is not the embedded store"
_LOST = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""


class ProvenTransport(httpx.AsyncBaseTransport):
    """Sends requests over connections whose other end has proven that it has the store's secret."""

    def __init__(self, secret_key: str, limits: httpx.Limits) -> None:
        self._secret_key = secret_key
        self._room = anyio.Semaphore(limits.max_connections or sys.maxsize)
        self._idle: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and read the whole answer.

        Raises:
            httpx.ConnectError: Nobody listens, or another process than the store.
            httpx.TransportError: The connection is lost, or takes too long.
        """
        head = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
        head += [b"%b: %b" % header for header in request.headers.raw]
        if any(b"\r" in line or b"\n" in line for line in head):
            raise httpx.LocalProtocolError("A header holds a line break")
        content = b"\r\n".join([*head, b"", await request.aread()])
        async with self._room:
            connection = await self._take_idle(request.url) or await self._connect(request.url)
            try:
                with anyio.fail_after(request.extensions.get("timeout", {}).get("read")):
                    status, headers, body = await connection.exchange(content)
            except BaseException as failed:
                # What is left of the answer would be taken for the next one's, also after a cancellation.
                await connection.close()
                if isinstance(failed, TimeoutError):
                    raise httpx.ReadTimeout("the embedded store takes too long to answer") from failed
                if isinstance(failed, _LOST):
                    raise httpx.ReadError(str(failed) or "the connection was lost") from failed
                raise
            await self._keep(connection, headers)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().close()

    async def _take_idle(self, url: httpx.URL) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.address == (url.host, url.port) and connection.is_open():
                return connection
            await connection.close()
        return None

    async def _keep(self, connection: "_Connection", headers: Sequence[tuple[bytes, bytes]]) -> None:
        if _header(headers, b"connection").lower() == b"close":
            await connection.close()
            return
        connection.used = time.monotonic()
        self._idle.append(connection)
        # While one is closed, others may take all that are left.
        while self._idle and self._idle[0].used < connection.used - KEPT_S:
            await self._idle.pop(0).close()

    async def _connect(self, url: httpx.URL) -> "_Connection":
        host, port = url.host, url.port or 80
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                connection = _Connection(await anyio.connect_tcp(host, port), (host, url.port))
        except (OSError, TimeoutError) as failed:
            raise httpx.ConnectError(str(failed)) from failed
        try:
            with anyio.fail_after(PROOF_TIMEOUT_S):
                await self._challenge(connection, host, port)
        except BaseException as failed:
            await connection.close()
            if isinstance(failed, TimeoutError):
                raise httpx.ConnectTimeout("the embedded store takes too long to prove itself") from failed
            if isinstance(failed, (*_LOST, httpx.RemoteProtocolError)):
                raise httpx.ConnectError(_NOT_THE_STORE) from failed
            raise
        return connection

    async def _challenge(self, connection: "_Connection", host: str, port: int) -> None:
        challenge = new_challenge()
        request = f"GET {HEALTH} HTTP/1.1\r\nHost: {host}:{port}\r\n{CHALLENGE_HEADER}: {challenge}\r\n\r\n"
        _, headers, _ = await connection.exchange(request.encode("ascii"), MAX_UNPROVEN_BYTES)
        proof = _header(headers, PROOF_HEADER.encode()).decode("latin-1")
        if not is_proven(self._secret_key, challenge, port, proof):
            raise httpx.ConnectError(_NOT_THE_STORE)


class EmbeddedStoreTransport(ProvenTransport):
    """Sends requests to the store of a folder, and starts it if it has stopped.

    Args:
        secret_key: The store's, which whoever answers must have.
        backend: Where the store is; its URL is updated when the store was started again on another port.
    """

    def __init__(self, folder: Path, secret_key: str, limits: httpx.Limits, backend: Backend) -> None:
        super().__init__(secret_key, limits)
        self._folder = folder
        self._backend = backend
        self._first_url = backend.url

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; if the store does not listen, start it and send the request once more."""
        try:
            return await super().handle_async_request(self._addressed(request))
        except httpx.ConnectError:
            store = await anyio.to_thread.run_sync(ensure_store, self._folder)
            self._backend.url = store.base_url
            return await super().handle_async_request(self._addressed(request))

    def _addressed(self, request: httpx.Request) -> httpx.Request:
        # Stores rarely move, and parsing URLs takes a good part of a request's time.
        if self._backend.url == self._first_url == f"{request.url.scheme}://{request.url.netloc.decode('ascii')}":
            return request
        store = httpx.URL(self._backend.url)
        request.url = request.url.copy_with(host=store.host, port=store.port)
        request.headers["Host"] = store.netloc.decode("ascii")
        return request


class _Connection:
    """One connection, for one request at a time."""

    def __init__(self, stream: SocketStream, address: tuple[str, int | None]) -> None:
        self.address = address
        self.used = time.monotonic()
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - none of Django's

    async def exchange(self, request: bytes, max_body_bytes: int | None = None) -> Answer:
        """Send a request and read the answer.

        Raises:
            httpx.RemoteProtocolError: What comes is not an answer of a store.
            OSError: The connection is lost; also the errors of anyio for that.
        """
        # A server that refuses a request may close before it has read all of it; its answer says why.
        with suppress(anyio.BrokenResourceError):
            await self._stream.send(request)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += await self._stream.receive(_PART_BYTES)
            if len(received) > MAX_HEAD_BYTES + _PART_BYTES:
                raise httpx.RemoteProtocolError("the answer has no end of its head")
        first, *lines = bytes(received[:end]).split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        status, length = first[9:12], _header(headers, b"content-length")
        is_readable = first.startswith(b"HTTP/1.1 ") and status.isdigit() and length.isdigit()
        if not is_readable or (max_body_bytes is not None and int(length) > max_body_bytes):
            raise httpx.RemoteProtocolError("the answer is not one of the embedded store")
        body = bytes(received[end + 4 :])
        if len(body) < int(length):
            parts = [body]
            left = int(length) - len(body)
            while left > 0:
                parts.append(await self._stream.receive(_PART_BYTES))
                left -= len(parts[-1])
            body = b"".join(parts)
        if len(body) > int(length):
            raise httpx.RemoteProtocolError("the answer is longer than it says")
        return int(status), headers, body

    def is_open(self) -> bool:
        """Whether the other end has not closed it; one that is idle has nothing to say but that."""
        if (fd := self._socket.fileno()) < 0:
            return False
        if sys.platform == "win32":
            return not select.select([fd], [], [], 0)[0]
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return not poll.poll(0)

    async def close(self) -> None:
        """Close it at once."""
        await anyio.aclose_forcefully(self._stream)


def _header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for found, value in headers if found.lower() == name), b"")
