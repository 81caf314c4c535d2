"""The process that serves the embedded store."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Generator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from lfexp_mcp import __version__
from lfexp_mcp.errors import StoreError
from lfexp_mcp.loopback import LOOPBACK, listen_on
from lfexp_mcp.store.app import build_app
from lfexp_mcp.store.database import Database
from lfexp_mcp.store.keys import folder_keys

DATABASE_NAME = "store.sqlite3"


class _IdleWatch:
    """Tracks when the last request ended, and how many are running."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._active = 0
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= 1
            self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        return 0.0 if self._active else time.monotonic() - self._last


class _Server(uvicorn.Server):
    """Returns on SIGTERM and SIGINT; uvicorn's own server raises the signal again afterwards."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        wanted = (signal.SIGTERM, signal.SIGINT)
        before = {each: signal.signal(each, self.handle_exit) for each in wanted}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def serve(
    folder: Path,
    port: int = 0,
    idle_exit: float | None = None,
    announce: Path | None = None,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve the store of a folder on loopback until SIGTERM, SIGINT, or some time without requests.

    Args:
        folder: The store folder; made, with keys and file, if it does not exist.
        port: The port to prefer; another one is taken if it is not free. 0 takes any.
        idle_exit: Seconds without a request after which to stop; None for never.
        announce: A file that exists while the server listens: JSON of `pid`, `port` and `version`.
        listening: Called with the base URL once the server listens.

    Raises:
        StoreError: The folder cannot be used.
    """
    # It makes the folder.
    database = Database(folder / DATABASE_NAME)
    keys = folder_keys(folder)
    listener = _listen(port)
    watch = _IdleWatch(build_app(database, keys))
    config = uvicorn.Config(watch, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=10)
    server = _Server(config)
    if announce is not None:
        _announce(announce, listener.getsockname()[1])
    if listening is not None:
        listening(f"http://{LOOPBACK}:{listener.getsockname()[1]}")
    try:
        asyncio.run(_run(server, listener, watch, idle_exit))
    finally:
        if announce is not None:
            _withdraw(announce)
        listener.close()
        database.close()


async def _run(server: uvicorn.Server, listener: socket.socket, watch: _IdleWatch, idle_exit: float | None) -> None:
    watching = asyncio.create_task(_stop_when_idle(server, watch, idle_exit)) if idle_exit is not None else None
    try:
        await server.serve(sockets=[listener])
    finally:
        if watching is not None:
            watching.cancel()


async def _stop_when_idle(server: uvicorn.Server, watch: _IdleWatch, idle_exit: float) -> None:
    while (left := idle_exit - watch.idle_seconds) > 0:  # noqa: ASYNC110
        await asyncio.sleep(left)
    server.should_exit = True


def _listen(port: int) -> socket.socket:
    try:
        return listen_on(LOOPBACK, port)
    except OSError:
        if port:
            return _listen(0)
        raise StoreError(f"The embedded store found no free port on {LOOPBACK}.") from None


def _announce(path: Path, port: int) -> None:
    content = {"pid": os.getpid(), "port": port, "version": __version__}
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)


def _withdraw(path: Path) -> None:
    """Remove the announcement, unless another process has replaced it."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
            path.unlink()
