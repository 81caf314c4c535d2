"""Read JSON as models write it: with trailing commas, other quotes, comments, Python's words, or its end cut off.

Valid JSON reads as such. Invalid JSON is read if it has one plain meaning. A key that occurs twice with different
values has the list of them. A hostile text, such as 20,000 braces, is given up quickly.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

_MAX_DEPTH = 40
"""Deeper nesting is not read: the reader calls itself for each level."""
_MAX_WASTED_CHARS = 100_000
"""Characters read without finding an object after which a text is given up, so that none takes long."""
_CLOSING = {'"': '"', "'": "'", "\u201c": "\u201d", "\u201d": "\u201d", "\u2018": "\u2019"}
_WORDS: dict[str, JsonValue] = {
    "true": True,
    "false": False,
    "null": None,
    "True": True,
    "False": False,
    "None": None,
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_SPACE = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"-?\d{1,15},\d{1,15}(?=\s*[,}])(?!\s*,\s*-?\d)")
_NUMBER = re.compile(r"-?\d{1,300}(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?=[\s,}\]])")
_BARE = re.compile(r"[^\s,:{}\[\]\"'][^,:{}\[\]\"'\n]*(?=[,:}\]\n])")
_STRING_END = re.compile(r"\s*(?:[,:}\]]|$)")
_HEX = re.compile(r"[0-9a-fA-F]{4}")


class _NotJsonError(ValueError):
    """The text from here on is not JSON, even leniently read."""


class _CutOffError(Exception):
    """The text ends inside a value."""


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object or array in a text."""

    value: JsonValue
    start: int
    end: int
    """Position after it."""


def objects_in(text: str) -> Iterator[FoundObject]:
    """Find the outermost objects and arrays in a text, in order.

    Yields:
        Each object or array that can be read. An object that the end of the text cuts off has its complete members.
    """
    at, wasted = 0, 0
    while wasted < _MAX_WASTED_CHARS:
        starts = [found for found in (text.find("{", at), text.find("[", at)) if found >= 0]
        if not starts:
            return
        at = min(starts)
        reader = _Reader(text, at)
        try:
            value = reader.value(0)
            yield FoundObject(value, at, reader.at)
            at = reader.at
        except (_NotJsonError, _CutOffError):
            wasted += reader.at - at
            at += 1


class _Reader:
    """Reads one value, starting at `at`."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.at = at

    def value(self, depth: int, *, member: bool = False) -> JsonValue:
        if depth > _MAX_DEPTH:
            raise _NotJsonError
        match self._peek():
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case quote if quote in _CLOSING:
                return self._string(quote)
            case _ if member and (number := _DECIMAL_COMMA.match(self._text, self.at)):
                self.at = number.end()
                return number[0]
            case _:
                return self._bare()

    def _peek(self) -> str:
        """Skip space and comments, and look at the next character."""
        if space := _SPACE.match(self._text, self.at):
            self.at = space.end()
        if self.at >= len(self._text):
            raise _CutOffError
        return self._text[self.at]

    def _object(self, depth: int) -> JsonValue:
        self.at += 1
        members: dict[str, JsonValue] = {}
        try:
            while self._peek() != "}":
                key = self._string(self._peek()) if self._peek() in _CLOSING else self._bare()
                if self._peek() != ":":
                    raise _NotJsonError
                self.at += 1
                value = self.value(depth + 1, member=True)
                _add(members, str(key), value)
                self._separator("}")
        except _CutOffError:
            if depth or not members:
                raise
            return members
        self.at += 1
        return members

    def _array(self, depth: int) -> JsonValue:
        self.at += 1
        entries: list[JsonValue] = []
        while self._peek() != "]":
            entries.append(self.value(depth + 1))
            self._separator("]")
        self.at += 1
        return entries

    def _separator(self, end: str) -> None:
        following = self._peek()
        if following == ",":
            self.at += 1
        elif following != end and not (end == "}" and following in _CLOSING):
            raise _NotJsonError

    def _string(self, quote: str) -> str:
        """Read a string. A quote ends it only if what can follow a string comes next; else it is part of the string."""
        closing = _CLOSING[quote]
        parts: list[str] = []
        self.at += 1
        while self.at < len(self._text):
            character = self._text[self.at]
            self.at += 1
            if character == "\\":
                parts.append(self._escape())
            elif character == closing and _STRING_END.match(self._text, self.at):
                return _with_pairs("".join(parts))
            else:
                parts.append(character)
        raise _CutOffError

    def _escape(self) -> str:
        if self.at >= len(self._text):
            raise _CutOffError
        letter = self._text[self.at]
        self.at += 1
        if letter == "u" and (code := _HEX.match(self._text, self.at)):
            self.at = code.end()
            return chr(int(code[0], 16))
        return _ESCAPES.get(letter, letter)

    def _bare(self) -> JsonValue:
        """Read a number, a word, or text without quotes, such as a key or `8/10`."""
        if number := _NUMBER.match(self._text, self.at):
            self.at = number.end()
            return float(number[0]) if set(number[0]) & set(".eE") else int(number[0])
        bare = _BARE.match(self._text, self.at)
        if bare is None:
            raise _CutOffError if "\n" not in self._text[self.at :] else _NotJsonError
        self.at = bare.end()
        word = bare[0].rstrip()
        return _WORDS.get(word, word)


def _add(members: dict[str, JsonValue], key: str, value: JsonValue) -> None:
    members[key] = value if key not in members or members[key] == value else [members[key], value]


def _with_pairs(text: str) -> str:
    """Combine escaped surrogate pairs; a lone surrogate becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
