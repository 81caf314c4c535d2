"""Masking secrets in texts that others wrote, such as a server's error that quotes the key it was sent."""

import re

MIN_SECRET_CHARS = 8
"""Shorter secrets are not masked: they are placeholders, as of local model servers, and part of ordinary words."""
MASK = "<key>"

_KEY_LIKE = re.compile(r"\b(?:(?:sk|pk|key)[-_]|bearer\s+)(?=[\w*.-]*[\d*])[\w*.-]{6,}", re.IGNORECASE)
"""What looks like a key: a usual prefix, then a digit, or the asterisks of a shortened key."""


def mask(text: str, *secrets: str) -> str:
    """Replace secrets, and whatever looks like a key, by `<key>`.

    Args:
        secrets: Texts to mask; those shorter than `MIN_SECRET_CHARS` are kept.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, MASK)
    return _KEY_LIKE.sub(MASK, text)
