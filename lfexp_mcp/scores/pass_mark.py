"""From which value an item passes."""

PASS_MARK = 0.7
"""Canonical value from which an item passes, unless the caller names another."""
