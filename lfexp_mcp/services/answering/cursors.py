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
        raise no_cursor(cursor)
    return int(match[1])


def no_cursor(cursor: str) -> UsageError:
    """The error of a cursor that its list did not give."""
    return UsageError(
        f"{cursor!r} is no cursor of this list: pass the `next_cursor` of the answer before, or none to begin anew."
    )


def check_place(place: int, total: int, what: str) -> None:
    """Check that a list reaches as far as a cursor says.

    Args:
        place: What `read_cursor` returned.
        total: How many entries the list has.
        what: The entries' name, such as `items`.

    Raises:
        UsageError: It ends before, which an empty page would hide.
    """
    if place and place >= total:
        raise UsageError(
            f"The cursor {write_cursor(place)!r} is beyond the end: there are {total} {what}. "
            "Leave cursor out to begin anew."
        )
