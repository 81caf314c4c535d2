"""How fast one provider is called: so many calls at once, and all of them slower when it says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from lfexp_mcp.clock import CLOCK


class Pace:
    """Holds back the calls to one provider.

    A call that was throttled makes all calls wait, and halves how many may be under way; each round of calls that go
    through lets one more in again (additive increase, multiplicative decrease, as TCP's, RFC 5681).
    """

    def __init__(self, concurrency: int) -> None:
        """Start with `concurrency` calls at once, which is also the most."""
        self._most = concurrency
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._open_at = 0.0
        self._went_through = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for one call."""
        async with self._limiter:
            # Whoever is throttled meanwhile puts the time off for those who wait, too.
            while (wait := self._open_at - CLOCK.monotonic()) > 0:  # noqa: ASYNC110
                await anyio.sleep(wait)
            yield

    def slow_down(self, seconds: float) -> None:
        """Let nobody call for some seconds, then half as many at once; it counts once for all throttled together."""
        now = CLOCK.monotonic()
        if now >= self._open_at:
            self._limiter.total_tokens = max(1, int(self._limiter.total_tokens) // 2)
            self._went_through = 0
        self._open_at = max(self._open_at, now + seconds)

    def went_through(self) -> None:
        """Note a call that was answered."""
        self._went_through += 1
        if self._went_through >= self._limiter.total_tokens < self._most:
            self._limiter.total_tokens += 1
            self._went_through = 0
