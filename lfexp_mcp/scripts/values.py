"""From what the user's code returns to what JSON can hold."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from functools import partial
from pathlib import PurePath
from uuid import UUID

from pydantic import BaseModel, JsonValue

from lfexp_mcp.scripts.texts import clean, describe

DEEPEST = 64
"""Levels of nesting that are kept; as many more are kept as the text of their JSON, what lies deeper is left out."""
MOST_VALUES = 1_000_000
"""Values of one output after which no further list or object is opened: a web of objects has endless paths."""
LARGEST_SAFE_INTEGER = 2**53 - 1
"""Larger integers lose digits in Langfuse, whose numbers are those of JavaScript (`Number.MAX_SAFE_INTEGER`)."""


class JsonReading:
    """One value on its way to JSON.

    Attributes:
        changed: What JSON does not have, and was replaced: names of types for the most part.
    """

    def __init__(self, most: int = MOST_VALUES) -> None:
        """Begin.

        Args:
            most: How many values are read before no further list or object is opened.
        """
        self.changed: set[str] = set()
        self._most = most
        self._path: set[int] = set()
        self._count = 0
        self._is_deep = False

    def read(self, value: object, depth: int = 0) -> JsonValue:
        """Return the value as JSON holds it.

        Text, booleans, finite numbers, lists and string-keyed mappings stay as they are. Pydantic models, dataclasses
        and named tuples become objects; tuples and sets, lists; dates, paths, ids and enums, their usual text or
        value; bytes, their UTF-8 text where it is such. NaN, infinities, huge integers and all other objects become
        text, and are noted in `changed`. So is what is cut: an object within itself, or beyond the bounds.

        Raises:
            Exception: Whatever the value's own methods raise when they are asked for its content.
        """
        self._count += 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._read_text(value)
        if isinstance(value, Enum):
            return self.read(value.value, depth)
        if isinstance(value, int):
            number = int(value)
            return number if abs(number) <= LARGEST_SAFE_INTEGER else self._as_text(number, "large integer")
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._as_text(value, str(value))
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, PurePath | UUID):
            return self._read_text(str(value))
        if isinstance(value, bytes | bytearray):
            self.changed.add("bytes")
            return value.decode("utf-8", "backslashreplace")
        parts = _take_apart(value)
        return self._as_text(value, type(value).__name__) if parts is None else self._read_parts(value, parts, depth)

    def _read_text(self, value: str) -> str:
        text = clean(value)
        if text != value:
            self.changed.add("lone surrogates")
        return text

    def _read_parts(self, value: object, parts: "_Parts", depth: int) -> JsonValue:
        if id(value) in self._path:
            return self._left_out(value, "it contains itself", "circles")
        if self._count > self._most:
            return self._left_out(value, f"the output has more than {self._most:,} values", "too many values")
        if depth == DEEPEST:
            return self._read_deep(value)
        if isinstance(value, set | frozenset):
            self.changed.add("set")
        self._path.add(id(value))
        try:
            members = [self.read(member, depth + 1) for member in parts.members]
        finally:
            self._path.remove(id(value))
        if parts.names is None:
            return members
        read = dict(zip((self._read_text(str(name)) for name in parts.names), members, strict=True))
        if len(read) < len(members):
            self.changed.add("keys alike as text, of which the last is kept")
        return read

    def _read_deep(self, value: object) -> str:
        if self._is_deep:
            # Text of JSON within text of JSON doubles with each level.
            return self._left_out(value, "it lies too deep", "deep nesting")
        self.changed.add("deep nesting")
        self._is_deep = True
        try:
            return json.dumps(self.read(value), ensure_ascii=False)
        except RecursionError:
            return self._left_out(value, "it lies too deep", "deep nesting")
        finally:
            self._is_deep = False

    def _left_out(self, value: object, why: str, what: str) -> str:
        self.changed.add(what)
        return f"<{type(value).__name__} left out: {why}>"

    def _as_text(self, value: object, what: str) -> str:
        self.changed.add(what)
        return self._read_text(describe(value))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a list (without names) or an object is made of, copied: a thread left behind may still add to the value."""

    names: list[object] | None
    members: list[object]


def _take_apart(value: object) -> _Parts | None:
    """Return the parts of a value, None for one that has none."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        items = list(value.items())
        return _Parts([name for name, _ in items], [member for _, member in items])
    if isinstance(value, list | tuple):
        names = getattr(value, "_fields", None)
        return _Parts(None if names is None else list(names), list(value))
    if isinstance(value, set | frozenset):
        return _Parts(None, sorted(value, key=partial(describe, write=repr)))
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return _Parts(names, [getattr(value, name) for name in names])
    return None
