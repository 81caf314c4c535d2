"""The way to the embedded store, which stops by itself when nobody asks, and is started again by the next request."""

from pathlib import Path

import anyio.to_thread
import httpx

from lfexp_mcp.gateway.location import Location
from lfexp_mcp.gateway.proven import ProvenTransport
from lfexp_mcp.store.process import ensure_store


class EmbeddedStoreTransport(httpx.AsyncBaseTransport):
    """Sends requests to the store of a folder, and starts it where it has stopped."""

    def __init__(self, folder: Path, secret_key: str, limits: httpx.Limits, location: Location) -> None:
        """Set the way up.

        Args:
            folder: The store's.
            secret_key: The store's, which whoever answers has to have.
            limits: Of the connections.
            location: Where the store is; kept true when a store that was started again is elsewhere.
        """
        self._folder = folder
        self._inner = ProvenTransport(secret_key, limits)
        self._location = location
        self._first_url = location.url

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; start the store and send it once more where nobody listens, or somebody else."""
        try:
            return await self._inner.handle_async_request(self._addressed(request))
        except httpx.ConnectError:
            store = await anyio.to_thread.run_sync(ensure_store, self._folder)
            self._location.url = store.base_url
            return await self._inner.handle_async_request(self._addressed(request))

    def _addressed(self, request: httpx.Request) -> httpx.Request:
        # Parsing addresses takes a good part of a request's time, and a store seldom moves.
        if self._location.url == self._first_url == f"{request.url.scheme}://{request.url.netloc.decode('ascii')}":
            return request
        store = httpx.URL(self._location.url)
        request.url = request.url.copy_with(host=store.host, port=store.port)
        request.headers["Host"] = store.netloc.decode("ascii")
        return request

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
