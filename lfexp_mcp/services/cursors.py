"""Cursors of lists that are cut after they were read: where the next page begins, opaque to the caller."""

import re

from lfexp_mcp.errors import UsageError

_CURSOR = re.compile(r"from-(\d{1,9})")


def write_cursor(place: int) -> str:
    """Encode the place in its list at which the next page begins."""
    return f"from-{place}"


def read_cursor(cursor: str | None) -> int:
    """Decode a cursor; None is the beginning.

    Raises:
        UsageError: It is none of ours.
    """
    if cursor is None:
        return 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise UsageError(
            f"{cursor!r} is no cursor of this list: pass the `next_cursor` of the answer before, or none to begin anew."
        )
    return int(match[1])
