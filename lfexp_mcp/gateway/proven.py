"""Connections to the embedded store on which it has proven itself before the first request, and so before the keys."""

from collections.abc import Iterable

import httpcore
import httpx

from lfexp_mcp.store.address import CHALLENGE_HEADER, HEALTH, PROOF_HEADER, is_proven, new_challenge

PROOF_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024


class ProvenTransport(httpx.AsyncHTTPTransport):
    """Sends requests over connections whose other end has proven that it has the store's secret.

    Args:
        secret_key: The store's.
        limits: Of the connections.
    """

    def __init__(self, secret_key: str, limits: httpx.Limits) -> None:
        # Loading the certificates takes a while, and loopback needs none.
        super().__init__(verify=False, limits=limits)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_ProvingBackend(secret_key),
        )


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
        """Connect and let the other end prove itself.

        Raises:
            httpcore.ConnectError: Nobody listens, or not the store.
            httpcore.ConnectTimeout: The other end takes too long.
        """
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            await self._let_prove(stream, host, port)
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

    async def _let_prove(self, stream: httpcore.AsyncNetworkStream, host: str, port: int) -> None:
        challenge = new_challenge()
        request = f"GET {HEALTH} HTTP/1.1\r\nHost: {host}:{port}\r\n{CHALLENGE_HEADER}: {challenge}\r\n\r\n"
        await stream.write(request.encode("ascii"), PROOF_TIMEOUT_S)
        answer = b""
        while not _is_whole(answer):
            part = await stream.read(MAX_ANSWER_BYTES, PROOF_TIMEOUT_S)
            answer += part
            if not part or len(answer) > MAX_ANSWER_BYTES:
                raise httpcore.ConnectError("what listens there is not the embedded store")
        if not is_proven(self._secret_key, challenge, port, _header(answer, PROOF_HEADER)):
            raise httpcore.ConnectError("what listens there is not the embedded store")


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
