"""How far a run has come."""

from dataclasses import dataclass

LONG_WAIT_S = 30.0
"""From here on, the time of the longest running item is shown even if the time left is known."""


@dataclass(frozen=True, slots=True)
class ProviderRetries:
    """Calls to a model provider that failed and were repeated."""

    provider: str
    retries: int
    rate_limited: int = 0
    """Those after a rate limit (429, 529)."""

    def __str__(self) -> str:
        limited = f" ({self.rate_limited} rate-limited)" if self.rate_limited else ""
        return f"{self.provider}: {self.retries} {'retry' if self.retries == 1 else 'retries'}{limited}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running run has come; items that a resume repeats are not done.

    As text one line, such as `34/100 items, 2 failed, 3.1/s, 21 s left, openai: 5 retries (4 rate-limited)`.
    """

    done: int
    """Items whose task has ended, failed ones included."""
    total: int
    """0 while the dataset is being read."""
    failed: int = 0
    running: int = 0
    scoring: int = 0
    """Items waiting for their scores."""
    longest_wait: float | None = None
    """Seconds that the oldest running item, else the oldest in scoring, has taken."""
    items_per_second: float | None = None
    seconds_left: float | None = None
    """Estimated; None where only running items are left."""
    provider_retries: tuple[ProviderRetries, ...] = ()
    batched: tuple[int, int] | None = None
    """Requests in the batches that are out: those settled, as far as the providers tell, and all."""

    def __str__(self) -> str:
        parts = [f"{self.done}/{self.total} items"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.batched:
            parts.append("{} of {} requests in batches settled".format(*self.batched))
        if rate := self.items_per_second:
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.2g}/min")
        if self.seconds_left is not None:
            parts.append(f"{self.seconds_left:.0f} s left")
        return ", ".join([*parts, *self._awaited(), *map(str, self.provider_retries)])

    def _awaited(self) -> tuple[str, ...]:
        """State what the run waits for, if the time left is unknown or an item takes long."""
        waited = self.longest_wait
        if waited is None:
            return ()
        if self.seconds_left is not None:
            return (f"longest running for {waited:.0f} s",) if self.running and waited >= LONG_WAIT_S else ()
        count, doing = (self.running, "waiting for") if self.running else (self.scoring, "scoring")
        if count > 1:
            return (f"{doing} {count} items, the longest for {waited:.0f} s",)
        return (f"{doing} 1 item{', running' if self.running else ''} for {waited:.0f} s",)
