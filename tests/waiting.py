"""Waiting in tests: for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

import anyio

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
