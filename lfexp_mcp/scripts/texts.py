"""Texts of the user's code, made fit to be kept: they may hold anything, be endless, or fail to come about."""

from collections.abc import Callable
from reprlib import Repr

ROOM_TO_SAY_SO = 50
LONGEST_SHOWN = 300
"""Characters of a value that an error quotes."""


def clean(text: str) -> str:
    """Return a text as UTF-8 can hold it: escaped surrogates joined, and U+FFFD for one that lost its partner."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(text)


def cut(text: str, longest: int) -> str:
    """Cut the middle out of a text that is too long, and say so there: beginning and end tell the most."""
    if len(text) <= longest:
        return text
    half = (longest - ROOM_TO_SAY_SO) // 2
    return f"{text[:half]} … [{len(text) - 2 * half:,} characters cut] … {text[-half:]}"


def describe(value: object, write: Callable[[object], str] = str) -> str:
    """Return the text of any object, even of one that fails to give one."""
    try:
        return clean(write(value))
    except BaseException as error:  # noqa: BLE001 - it is the user's `__str__` or `__repr__`
        return f"<{type(value).__name__} whose text fails with {type(error).__name__}>"


def show(value: object) -> str:
    """Return what an error quotes of any object: its `repr`, bounded in length and depth, even of one that fails."""
    return cut(describe(value, _Shown().repr), LONGEST_SHOWN)


class _Shown(Repr):
    """Opens few levels of a list: Python's own `repr` of a web of lists takes endless time, and all threads with it."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = LONGEST_SHOWN

    def repr_instance(self, x: object, level: int) -> str:  # noqa: ARG002
        return describe(x, repr)
