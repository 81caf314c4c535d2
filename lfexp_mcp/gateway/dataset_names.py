"""Names of datasets as addresses: a server decodes the path of a dataset twice, and no path reaches some names."""

import unicodedata
from urllib.parse import quote

from lfexp_mcp.errors import UsageError

MAX_PATH_CHARS = 6000
"""Of a name encoded for a path: servers and proxies refuse addresses of 8 KB."""
_UNREACHABLE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters (tabs and line breaks among them), halves of surrogate pairs, line and paragraph separators."""


def dataset_path(name: str) -> str:
    """Encode a name for the path of a dataset, twice, as Langfuse decodes it (seen on 4.16.0).

    Raises:
        UsageError: No path reaches a dataset of this name.
    """
    refuse_unreachable(name)
    return _encoded_twice(name)


def refuse_unreachable(name: str) -> None:
    """Refuse a name by which a dataset could not be read again.

    Raises:
        UsageError: The name is empty, `.` or `..`, too long, or holds a line break or another control character.
    """
    if not name.strip():
        raise UsageError("The dataset needs a name. Pass one, such as 'support-questions'.")
    if name in (".", ".."):
        raise UsageError(f"A dataset cannot be named {name!r}: its address would be another one. Choose another name.")
    if any(unicodedata.category(character) in _UNREACHABLE_CATEGORIES for character in name):
        raise UsageError(
            f"A dataset cannot be named {name[:100]!r}: it holds a line break or another control character. "
            "Choose a name on one line."
        )
    if len(_encoded_twice(name)) > MAX_PATH_CHARS:
        raise UsageError(f"The dataset name {name[:40]!r}… is too long for an address. Choose a shorter name.")


def _encoded_twice(name: str) -> str:
    return quote(quote(name, safe=""), safe="")
