"""Waiting for what nobody tells of; tests on an event loop have `tests.worker.scene.until`."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 90.0


def until(read: Callable[[], T], enough: Callable[[T], bool] = bool, *, every: float = 0.02) -> T:
    """Read again and again until it is enough, and return what was read.

    Args:
        read: Reads, or asks for a condition.
        enough: Whether what was read will do; by default, whether it is true.
        every: Seconds between two interpretations.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not enough(found := read()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s; at last: {found!r}"
        time.sleep(every)
    return found
