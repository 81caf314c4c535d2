"""Cursors of lists that are read whole and shown in pages; opaque to the caller."""

import re

from lfexp_mcp.errors import CursorError

_CURSOR = re.compile(r"from-(\d{1,9})(?:-([0-9a-f]{8}))?")


def write_cursor(start: int, digest: str = "") -> str:
    """Encode where in its list the next page begins.

    Args:
        start: The place.
        digest: Eight hex digits that tell which list it is, where filters make several.
    """
    return f"from-{start}-{digest}" if digest else f"from-{start}"


def read_cursor(cursor: str | None, digest: str = "") -> int:
    """Decode a cursor; None is the start of the list.

    Raises:
        CursorError: `write_cursor` did not write it, or wrote it for another list.
    """
    if cursor is None:
        return 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise invalid_cursor(cursor)
    if (match[2] or "") != digest:
        raise CursorError(
            f"Cursor {cursor!r} is of another filter or order: pass the same as in the call that gave it, or omit "
            "cursor to start over."
        )
    return int(match[1])


def check_cursor(start: int, total: int, what: str) -> None:
    """Check that a list reaches as far as a cursor says; an empty page would hide that it does not.

    Args:
        start: What `read_cursor` returned.
        total: Entries in the list.
        what: Their name, such as `items`.

    Raises:
        CursorError: The list is shorter.
    """
    if start and start >= total:
        raise CursorError(
            f"Cursor {write_cursor(start)!r} is past the end: there are {total} {what}. Pass an earlier one, or omit "
            "cursor to start over."
        )


def invalid_cursor(cursor: str) -> CursorError:
    """Make the error for a cursor that its list did not return."""
    return CursorError(
        f"Invalid cursor {cursor!r}: pass `next_cursor` of the previous answer, or omit cursor to start over."
    )
