"""Waiting in tests: for a condition, never for a time."""

import time
from collections.abc import Callable
from io import BufferedReader
from typing import TypeVar, cast

import anyio
import anyio.to_thread

from lfexp_mcp.services.workspace import Workspace

T = TypeVar("T")

PATIENCE_S = 180.0
"""Far longer than anything takes, also on a machine that is busy; only a test that fails ever waits so long."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, and leave the event loop to others meanwhile.

    Raises:
        TimeoutError: It did not come to hold.
    """
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await anyio.sleep(0.01)


def wait_until(read: Callable[[], T], enough: Callable[[T], bool] = bool, *, interval_s: float = 0.02) -> T:
    """Read again and again until the value will do, and return it.

    Args:
        read: Reads the value, or asks for a condition.
        enough: Whether a value will do; by default, whether it is true.
        interval_s: Seconds between two reads.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not enough(found := read()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s; the last value: {found!r}"
        time.sleep(interval_s)
    return found


async def until_spares_wait(ws: Workspace) -> list[int]:
    """Wait until the spare workers of a workspace have imported all that they can; return their process ids."""
    await until(lambda: len(ws.workers._spares) == ws.workers.SPARES)
    for spare in ws.workers._spares:
        assert await anyio.to_thread.run_sync(cast("BufferedReader", spare._stdout).peek)
    return [spare.pid for spare in ws.workers._spares]
