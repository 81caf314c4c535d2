"""Masking secrets in texts that others wrote, such as a server's error that quotes the key it was sent."""

import re
from collections.abc import Iterable, Mapping

MIN_SECRET_CHARS = 8
"""Shorter secrets are not masked: they are placeholders, as of local model servers, and part of ordinary words."""
MASK = "<key>"

_KEY_LIKE = re.compile(r"\b(?:(?:sk|pk|key)[-_]|bearer\s+)(?=[\w*.-]*[\d*])[\w*.-]{6,}", re.IGNORECASE)
"""What looks like a key: a usual prefix, then a digit, or the asterisks of a shortened key."""


_SECRET_NAME = re.compile(r"(?:KEY|SECRET|TOKEN|PASSWORD|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE)
_NO_SECRET = re.compile(r"[/~.\\]|[A-Za-z]:[/\\]|\D*$")
"""Paths, as of a file of keys, and words, as of a key to sort by."""


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables that hold secrets, by their names and their look."""
    return [value for name, value in environment.items() if _SECRET_NAME.search(name) and not _NO_SECRET.match(value)]


def without(secrets: Iterable[str], text: str) -> str:
    """Replace secrets by `<key>`; those shorter than `MIN_SECRET_CHARS` are kept."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, MASK)
    return text


def mask(text: str, *secrets: str) -> str:
    """Replace secrets, and whatever looks like a key, by `<key>`.

    Args:
        secrets: See `without`.
    """
    return _KEY_LIKE.sub(MASK, without(secrets, text))
