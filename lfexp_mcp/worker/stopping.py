"""Why and when a run stops before its end."""

from collections import Counter
from collections.abc import Callable
from typing import Literal

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.runs.events import ItemEnded

HOPELESS = 20
"""Items after which a run whose items all fail alike is called hopeless, and a share of failures means something."""

CANCELLED = "The run was cancelled; what is done is kept."
GO_ON = "What is done is kept."
"""The end of a reason that a user can mend."""


class Stop:
    """Collects the first reason to stop.

    Attributes:
        status: How the run ends then; None while there is no reason to stop.
        reason: A sentence for the user.
        since: `CLOCK.monotonic()` of the reason.
    """

    def __init__(self) -> None:
        self.status: Literal["failed", "cancelled"] | None = None
        self.reason = ""
        self.since = 0.0

    def request(self, status: Literal["failed", "cancelled"], reason: str) -> None:
        """Stop, unless there is a reason already."""
        if self.status is None:
            self.status, self.reason, self.since = status, reason, CLOCK.monotonic()


class ErrorPolicy:
    """Watches failures: stops a run that has too many, and warns of one that looks hopeless."""

    def __init__(self, fail_on_error: float | None, total: int, stop: Stop, warn: Callable[[str], None]) -> None:
        """Watch.

        Args:
            fail_on_error: A count (int) or a share (float) of failed items at which the run stops; None for never.
            total: Items of the whole run.
            stop: Told when it is enough.
            warn: Told when all of the first items have failed alike.
        """
        self._limit = fail_on_error
        self._total = total
        self._stop = stop
        self._warn = warn
        self._ended = 0
        self._errors: Counter[str] = Counter()

    def count(self, ended: ItemEnded) -> None:
        """Take in the end of an item."""
        self._ended += 1
        if ended.error is not None:
            self._errors[ended.error] += 1
        if self._limit is not None and self._is_too_much(self._limit):
            failed = self._errors.total()
            self._stop.request(
                "failed",
                f"Stopped early, as fail_on_error={self._limit} asks: {failed} of {self._ended} items failed. "
                f"{self._common_error()} What is done is kept; fix the task, then resume the run.",
            )
        elif self._ended == min(HOPELESS, self._total) > 1 and self._errors[ended.error or ""] == self._ended:
            self._warn(
                f"All of the first {self._ended} items failed with the same error: {ended.error}. Cancel "
                "the run if it is still running, fix the task, then resume the run."
            )

    def _is_too_much(self, limit: float) -> bool:
        failed = self._errors.total()
        if isinstance(limit, int):
            return failed >= limit
        return self._ended >= min(HOPELESS, self._total) and failed / self._ended >= limit

    def _common_error(self) -> str:
        error, count = self._errors.most_common(1)[0]
        which = "All of them" if count == self._ended else f"{count} of them"
        return f"{which} failed with the same error: {error}."
