"""The way to the embedded store, which stops by itself when nobody asks, and is started again by the next request."""

from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import httpx

from lfexp_mcp.store.process import ensure_store


class EmbeddedStoreTransport(httpx.AsyncBaseTransport):
    """Sends requests to the store of a folder, and starts it where it has stopped."""

    def __init__(self, folder: Path, limits: httpx.Limits, on_moved: Callable[[str], None]) -> None:
        """Set the way up.

        Args:
            folder: The store's.
            limits: Of the connections.
            on_moved: Told the address when a store that was started again has another one.
        """
        self._folder = folder
        self._inner = httpx.AsyncHTTPTransport(limits=limits)
        self._on_moved = on_moved
        self._moved_to: httpx.URL | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; start the store and send it once more where nobody listens."""
        try:
            return await self._inner.handle_async_request(self._addressed(request))
        except httpx.ConnectError:
            store = await anyio.to_thread.run_sync(ensure_store, self._folder)
            self._moved_to = httpx.URL(store.base_url)
            self._on_moved(store.base_url)
            return await self._inner.handle_async_request(self._addressed(request))

    def _addressed(self, request: httpx.Request) -> httpx.Request:
        if self._moved_to is not None:
            request.url = request.url.copy_with(host=self._moved_to.host, port=self._moved_to.port)
            request.headers["Host"] = self._moved_to.netloc.decode("ascii")
        return request

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
