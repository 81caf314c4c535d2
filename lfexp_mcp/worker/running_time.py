"""Limits of the time in which this process runs: it may be stopped for a while, or its machine asleep."""

# Imported by name, since the user's code may replace attributes of the module.
from asyncio import TimerHandle, get_running_loop
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from lfexp_mcp.clock import CLOCK

PARTS = 10
"""Waits that a limit is made up of. If the process is stopped, only the one that it was in is over when it goes on."""
MAX_PART_S = 5.0


@contextmanager
def running_for_at_most(seconds: float | None) -> Iterator[None]:
    """Give up what is within after some seconds, as `anyio.move_on_after`, but those in which the process was stopped.

    Args:
        seconds: None for no limit.
    """
    if seconds is None:
        yield
        return
    loop, left = get_running_loop(), seconds
    part = min(seconds / PARTS, MAX_PART_S)
    waiting: TimerHandle
    with anyio.CancelScope() as scope:

        def end_part() -> None:
            nonlocal left, waiting
            left -= part
            if left > seconds * 1e-9:
                waiting = loop.call_later(min(part, left), end_part)
            else:
                scope.cancel()

        waiting = loop.call_later(part, end_part)
        try:
            yield
        finally:
            waiting.cancel()


class RunningTime:
    """Adds up the seconds in which the process ran, as far as it is asked at short intervals."""

    def __init__(self) -> None:
        self._asked = CLOCK.monotonic()
        self._ran = 0.0

    def seconds(self) -> float:
        """Seconds since it began; of each interval between two calls, `MAX_PART_S` at most."""
        now = CLOCK.monotonic()
        self._ran += min(now - self._asked, MAX_PART_S)
        self._asked = now
        return self._ran
