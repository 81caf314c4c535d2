"""From which value an item passes."""

PASS_MARK = 0.7
"""Canonical value from which an item passes, unless the caller names another."""


def on_unit(given: float) -> float:
    """Read a value that a caller names for scores: one above 1, up to 10, is meant on 0-10.

    Returns:
        The value on 0-1.

    Raises:
        ValueError: It is on neither scale.
    """
    if not 0 <= given <= 10:
        raise ValueError(f"{given:g} lies on neither 0-1 nor 0-10")
    return given / 10 if given > 1 else given
