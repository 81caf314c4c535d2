"""Times: whole milliseconds since the epoch in the database, as in Langfuse; ISO 8601 in UTC in JSON."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def now_ms() -> int:
    """Return the time now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    """Write a time in milliseconds as Langfuse does, such as `2026-11-22T22:45:10.300Z`."""
    return f"{_iso_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _iso_second(seconds: int) -> str:
    # Cached, since a page has hundreds of times, most of which share their seconds.
    # Not by `strftime`, which writes years before 1000 in fewer than four digits.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def iso_or_none(ms: int | None) -> str | None:
    """Write a time in milliseconds, or None if there is none."""
    return None if ms is None else iso(ms)


def parse_ms(text: str) -> int:
    """Read an ISO 8601 time; one without an offset is UTC.

    Args:
        text: The time as written.

    Returns:
        Milliseconds since the epoch, rounded down.

    Raises:
        ValueError: The text is not a time.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def _instant(value: object) -> int:
    if isinstance(value, str):
        try:
            return parse_ms(value)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("iso_datetime", "Invalid ISO datetime")


Instant = Annotated[int, BeforeValidator(_instant)]
"""A field that is an ISO 8601 time in JSON, and milliseconds since the epoch in Python."""
