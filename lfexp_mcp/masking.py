"""Keeping secrets out of texts that others wrote, such as a server's error that quotes the key it was sent."""

import re

MIN_SECRET_LENGTH = 8
"""Characters from which a secret is masked. A shorter one protects nothing, as the placeholder keys of local model
servers do, and is part of ordinary words."""
MASK = "<key>"

_KEY_LIKE = re.compile(r"\b(?:(?:sk|pk|key)[-_]|bearer\s+)(?=[\w*.-]*[\d*])[\w*.-]{6,}", re.IGNORECASE)
"""What looks like a key: its usual beginning, and a digit or the asterisks of a shortened one further on."""


def mask(text: str, *secrets: str) -> str:
    """Replace secrets, and all that looks like a key, by `<key>`.

    Args:
        text: Any text.
        secrets: What must not be seen; those shorter than `MIN_SECRET_LENGTH` are left where they stand.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET_LENGTH:
            text = text.replace(secret, MASK)
    return _KEY_LIKE.sub(MASK, text)
