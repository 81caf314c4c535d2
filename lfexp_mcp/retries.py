"""Whether and when a call that failed is made again: exponential back-off with jitter, and `Retry-After`.

Libraries such as tenacity draw their jitter from Python's own random numbers and read `time.monotonic`; in the worker
these belong to the user's code, which seeds and freezes them.
"""

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from lfexp_mcp.clock import CLOCK

FailureKind = Literal["failed", "unreachable", "throttled"]

_JITTER = random.Random()  # noqa: S311
"""Not Python's own generator: the user's code may have seeded that, and rely on its sequence."""
_JITTER_RANGE = (0.75, 1.25)
"""So that calls that failed together do not all come again at once."""
_RETRY_AFTER_JITTER_RANGE = (1.0, 1.1)
"""Never earlier than the server asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a call is made, and how long to wait in between.

    Attributes:
        attempts: Calls that may fail before giving up; None to never give up.
        connect_attempts: The same while the server cannot be reached at all; None for `attempts`.
        throttled_attempts: The same for throttled calls, which are not counted as failed.
        throttled_patience_s: Seconds to wait in total where the server says how long to wait.
        first_delay_s: Seconds before the first retry, doubled for each further one.
        max_delay_s: The longest of these delays, in seconds.
    """

    attempts: int | None = 5
    connect_attempts: int | None = None
    throttled_attempts: int | None = None
    throttled_patience_s: float = math.inf
    first_delay_s: float = 0.3
    max_delay_s: float = 20.0


class Retries:
    """Counts the failures of one call, and says how long to wait before the next attempt.

    Attributes:
        attempts: Calls that have failed, of all kinds.

    Example:
        retries = Retries(policy)
        while True:
            try:
                return await send()
            except SendError as error:
                delay = retries.next_delay(retry_after_s=error.retry_after_s)
                if delay is None:
                    raise
            await anyio.sleep(delay)
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self.attempts = 0
        self._policy = policy
        self._throttled = 0
        self._patience_s = policy.throttled_patience_s

    def next_delay(self, kind: FailureKind = "failed", *, retry_after_s: float | None = None) -> float | None:
        """Count a failure.

        Args:
            retry_after_s: Seconds that the server asked to wait; unless 0, they replace the back-off.

        Returns:
            Seconds to wait before the next attempt; None to give up.
        """
        policy = self._policy
        self.attempts += 1
        if kind == "throttled":
            self._throttled += 1
            failures, attempts = self._throttled, policy.throttled_attempts
        else:
            failures, attempts = self.attempts - self._throttled, policy.attempts
            if kind == "unreachable" and policy.connect_attempts is not None:
                attempts = policy.connect_attempts
        if attempts is not None and failures >= attempts:
            return None
        if retry_after_s:
            self._patience_s -= retry_after_s
            return None if self._patience_s < 0 else retry_after_s * _JITTER.uniform(*_RETRY_AFTER_JITTER_RANGE)
        # The exponent is bounded, since a float is.
        delay = min(policy.first_delay_s * 2.0 ** min(failures - 1, 64), policy.max_delay_s)
        return delay * _JITTER.uniform(*_JITTER_RANGE)


def read_retry_after(value: str | None) -> float | None:
    """Read a `Retry-After` header, a number of seconds or an HTTP date (RFC 9110, section 10.2.3).

    Args:
        value: The header's value; None if there is none.

    Returns:
        Seconds from now, 0 for a time in the past; None for what is neither a number nor a date.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - CLOCK.now()).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
