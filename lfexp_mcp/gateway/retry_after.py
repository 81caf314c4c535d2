"""How long a server asks to wait before the next request."""

import math
from email.utils import parsedate_to_datetime

from lfexp_mcp.clock import CLOCK


def read_retry_after(value: str | None) -> float | None:
    """Read a `Retry-After` header, a number of seconds or an HTTP date (RFC 9110, section 10.2.3).

    Args:
        value: The header's; None where there is none.

    Returns:
        Seconds from now, 0 for a time that is past; None for what is neither a number nor a date.
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
