"""Text of the user's objects: it may be endless, invalid as UTF-8, or fail to be produced."""

from collections.abc import Callable
from reprlib import Repr

NOTE_CHARS = 50
"""Room for the note that a text was cut."""
MAX_SHOWN_CHARS = 300
"""Of a value that an error quotes."""


def clean(text: str) -> str:
    """Return a text that UTF-8 can encode: surrogate pairs are joined, and lone surrogates become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(text)


def cut(text: str, max_chars: int) -> str:
    """Cut the middle out of a long text, since its beginning and end tell the most."""
    if len(text) <= max_chars:
        return text
    half = (max_chars - NOTE_CHARS) // 2
    return f"{text[:half]} … [{len(text) - 2 * half:,} characters cut] … {text[-half:]}"


def describe(value: object, write: Callable[[object], str] = str) -> str:
    """Return the text of any object, even if its own method raises."""
    try:
        return clean(write(value))
    except BaseException as error:  # noqa: BLE001 - raised by the user's `__str__` or `__repr__`
        return f"<{type(value).__name__} whose text fails with {type(error).__name__}>"


def show(value: object) -> str:
    """Return the `repr` of any object, bounded in length and depth, to be quoted in an error."""
    return cut(describe(value, _BoundedRepr().repr), MAX_SHOWN_CHARS)


class _BoundedRepr(Repr):
    """Python's own `repr` of a web of lists never ends, and blocks all threads."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MAX_SHOWN_CHARS

    def repr_instance(self, x: object, level: int) -> str:  # noqa: ARG002
        return describe(x, repr)
