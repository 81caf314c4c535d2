"""When and why a run stops early."""

from collections import Counter
from collections.abc import Callable
from typing import Literal

from lfexp_mcp.runs.events import ItemEnded

MIN_ITEMS = 20
"""Items after which a share of failures is meaningful."""
CANCELLED = "The run was cancelled; finished items are kept."


class Stop:
    """The first reason to stop a run.

    Attributes:
        status: How the run ends, `stopped` if by its stopping rule; None as long as there is no reason to stop.
        reason: A sentence for the user.
    """

    def __init__(self) -> None:
        self.status: Literal["stopped", "failed", "cancelled"] | None = None
        self.reason = ""

    def request(self, status: Literal["stopped", "failed", "cancelled"], reason: str) -> None:
        """Stop the run, unless something else already has."""
        if self.status is None:
            self.status, self.reason = status, reason

    def withdraw(self) -> None:
        """Go on as if nothing had stopped the run."""
        self.status, self.reason = None, ""

    def request_failed(self, cause: str) -> None:
        """Stop the run for a cause that the user can fix."""
        self.request("failed", f"{cause} Finished items are kept.")


class ErrorPolicy:
    """Stops a run in which too many items fail, and warns if all of the first ones do.

    Args:
        fail_on_error: A count (int) or a share (float) of failed items at which the run stops; None for never.
        total: Results of the whole run.
        stop: Stops the run.
        warn: Called with a warning.
    """

    def __init__(self, fail_on_error: float | None, total: int, stop: Stop, warn: Callable[[str], None]) -> None:
        self._limit = fail_on_error
        self._total = total
        self._stop = stop
        self._warn = warn
        self._ended = 0
        self._errors: Counter[str] = Counter()

    def count(self, ended: ItemEnded) -> None:
        """Count a result."""
        self._ended += 1
        if ended.error is not None:
            self._errors[ended.error] += 1
        if self._limit is not None and self._is_exceeded(self._limit):
            failed = self._errors.total()
            error, count = self._errors.most_common(1)[0]
            which = "All of them" if count == self._ended else f"{count} of them"
            self._stop.request(
                "failed",
                f"Stopped because of fail_on_error={self._limit}: {failed} of {self._ended} items failed. {which} "
                f"failed with the same error: {error}. Finished items are kept.",
            )
        elif self._ended == min(MIN_ITEMS, self._total) > 1 and self._errors[ended.error or ""] == self._ended:
            self._warn(f"All of the first {self._ended} items failed with the same error: {ended.error}.")

    def _is_exceeded(self, limit: float) -> bool:
        failed = self._errors.total()
        if isinstance(limit, int):
            return failed >= limit
        return self._ended >= min(MIN_ITEMS, self._total) and failed / self._ended >= limit
