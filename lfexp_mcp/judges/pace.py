"""Limits the concurrent calls to one provider, and slows all of them down when it throttles one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from lfexp_mcp.clock import CLOCK


class Pace:
    """Limits the calls to one provider.

    A throttled call makes all calls wait and halves the concurrency; each round of successful calls raises it by one
    again (additive increase, multiplicative decrease, as in TCP, RFC 5681).
    """

    def __init__(self, concurrency: int) -> None:
        self._max_concurrency = concurrency
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._open_at = 0.0
        self._succeeded = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it during one call."""
        async with self._limiter:
            # A call that is throttled meanwhile postpones the time for those that wait.
            while (wait := self._open_at - CLOCK.monotonic()) > 0:  # noqa: ASYNC110
                await anyio.sleep(wait)
            yield

    def slow_down(self, seconds: float) -> None:
        """Stop all calls for some seconds, then halve the concurrency, once for all calls throttled together."""
        now = CLOCK.monotonic()
        if now >= self._open_at:
            self._limiter.total_tokens = max(1, int(self._limiter.total_tokens) // 2)
            self._succeeded = 0
        self._open_at = max(self._open_at, now + seconds)

    def succeeded(self) -> None:
        """Record a call that succeeded."""
        self._succeeded += 1
        if self._succeeded >= self._limiter.total_tokens < self._max_concurrency:
            self._limiter.total_tokens += 1
            self._succeeded = 0
