"""The real time, also where the user's code has frozen time.

Test code replaces `time` and `datetime` in all loaded modules (freezegun), in C (time-machine), or by hand. A run's
clocks must go on, or no time-out ends and nothing is sent. An object holds Python's own functions, where no search
through modules finds them; the date is read once and counted on from there.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial


class Clock:
    """Tells the time by the functions that Python had when this module was imported."""

    def __init__(self) -> None:
        self._datetime = datetime
        self._utc = UTC
        self._monotonic = time.perf_counter
        self._ticks_ns = _ticks_ns()
        self._offset_ns = time.time_ns() - self._ticks_ns()

    def monotonic(self) -> float:
        """Seconds that only go forward, from an arbitrary point."""
        return self._monotonic()

    def time_ns(self) -> int:
        """Nanoseconds since the epoch, without adjustments of the system's clock since the import."""
        return self._offset_ns + self._ticks_ns()

    def set(self, time_ns: int) -> None:
        """Let `time_ns` go on from this time, which another machine tells."""
        self._offset_ns = time_ns - self._ticks_ns()

    def now(self) -> datetime:
        """The date and time, in UTC."""
        return self.date(self.time_ns())

    def date(self, time_ns: int) -> datetime:
        """The date and time of a `time_ns`, in UTC."""
        return self._datetime.fromtimestamp(time_ns / 1e9, self._utc)


def _ticks_ns() -> Callable[[], int]:
    """Return a monotonic clock that goes on while the machine is suspended."""
    if sys.platform == "linux":
        return partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
    return time.perf_counter_ns


CLOCK = Clock()
