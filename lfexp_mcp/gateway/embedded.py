"""Connections to the embedded store.

The store stops by itself after a while without requests, and is started again by the next one. It proves on each
connection that it has the store's secret before the keys are sent.
"""

from collections.abc import Iterable
from pathlib import Path

import anyio.to_thread
import httpcore
import httpx

from lfexp_mcp.model import Backend
from lfexp_mcp.store.address import CHALLENGE_HEADER, HEALTH, PROOF_HEADER, is_proven, new_challenge
from lfexp_mcp.store.process import ensure_store

PROOF_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024
_NOT_THE_STORE = "the process listening there is not the embedded store"


class ProvenTransport(httpx.AsyncHTTPTransport):
    """Sends requests over connections whose other end has proven that it has the store's secret."""

    def __init__(self, secret_key: str, limits: httpx.Limits) -> None:
        # Loading the certificates takes a while, and loopback needs none.
        super().__init__(verify=False, limits=limits)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_ProvingBackend(secret_key),
        )


class EmbeddedStoreTransport(ProvenTransport):
    """Sends requests to the store of a folder, and starts it if it has stopped.

    Args:
        folder: The store's.
        secret_key: The store's, which whoever answers must have.
        limits: Of the connections.
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


class _ProvingBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections, and closes those on which the challenge is not answered."""

    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect and challenge the other end.

        Raises:
            httpcore.ConnectError: Nobody listens, or another process than the store.
            httpcore.ConnectTimeout: The other end takes too long.
        """
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            await self._challenge(stream, host, port)
        except BaseException as failed:
            await stream.aclose()
            if isinstance(failed, httpcore.TimeoutException):
                raise httpcore.ConnectTimeout("the embedded store takes too long to prove itself") from failed
            if isinstance(failed, httpcore.NetworkError):
                raise httpcore.ConnectError(str(failed)) from failed
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts to connect."""
        await self._inner.sleep(seconds)

    async def _challenge(self, stream: httpcore.AsyncNetworkStream, host: str, port: int) -> None:
        challenge = new_challenge()
        request = f"GET {HEALTH} HTTP/1.1\r\nHost: {host}:{port}\r\n{CHALLENGE_HEADER}: {challenge}\r\n\r\n"
        await stream.write(request.encode("ascii"), PROOF_TIMEOUT_S)
        answer = b""
        while not _is_whole(answer):
            part = await stream.read(MAX_ANSWER_BYTES, PROOF_TIMEOUT_S)
            answer += part
            if not part or len(answer) > MAX_ANSWER_BYTES:
                raise httpcore.ConnectError(_NOT_THE_STORE)
        if not is_proven(self._secret_key, challenge, port, _header(answer, PROOF_HEADER)):
            raise httpcore.ConnectError(_NOT_THE_STORE)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = _header(head, "content-length") or ""
    return bool(end) and (not length.isdecimal() or len(body) >= int(length))


def _header(answer: bytes, name: str) -> str | None:
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    for line in head.split("\r\n")[1:]:
        found, _, value = line.partition(":")
        if found.lower() == name:
            return value.strip()
    return None
