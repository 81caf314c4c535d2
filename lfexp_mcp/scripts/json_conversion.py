"""Convert what the user's code returns to JSON."""

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

MAX_DEPTH = 64
"""Levels of nesting that are kept as such; as many more are kept as JSON text, and what lies deeper is left out."""
MAX_VALUES = 1_000_000
"""Values of one output after which no further list or object is opened: a web of objects has endless paths."""
MAX_INTEGER = 2**53 - 1
"""JavaScript's `Number.MAX_SAFE_INTEGER`; larger integers would lose digits in Langfuse."""


class JsonConverter:
    """Converts one value.

    Attributes:
        replaced: What JSON cannot hold and was replaced, usually the names of types.

    Example:
        ```python
        converter = JsonConverter()
        converter.convert({"at": date(2026, 1, 2), "tags": {"a"}})  # {"at": "2026-01-02", "tags": ["a"]}
        converter.replaced  # {"set"}
        ```
    """

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self.replaced: set[str] = set()
        self._max_values = max_values
        self._path: set[int] = set()
        self._count = 0
        self._is_deep = False

    def convert(self, value: object, depth: int = 0) -> JsonValue:
        """Return the value as JSON.

        Text, booleans, finite numbers, lists and mappings with string keys stay as they are. Pydantic models,
        dataclasses and named tuples become objects, tuples and sets become lists, dates, paths, UUIDs and enums their
        usual text or value, and bytes their UTF-8 text. NaN, infinities, large integers and all other objects become
        text and are noted in `replaced`, as is whatever is cut: cycles, and what exceeds the bounds.

        Raises:
            Exception: Anything that the value's own methods raise.
        """
        self._count += 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Enum):
            return self.convert(value.value, depth)
        if isinstance(value, int):
            number = int(value)
            return number if abs(number) <= MAX_INTEGER else self._as_text(number, "large integer")
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._as_text(value, str(value))
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, PurePath | UUID):
            return self._text(str(value))
        if isinstance(value, bytes | bytearray):
            self.replaced.add("bytes")
            return value.decode("utf-8", "backslashreplace")
        parts = _take_apart(value)
        return self._as_text(value, type(value).__name__) if parts is None else self._convert(value, parts, depth)

    def _text(self, value: str) -> str:
        text = clean(value)
        if text != value:
            self.replaced.add("lone surrogates")
        return text

    def _as_text(self, value: object, what: str) -> str:
        self.replaced.add(what)
        return self._text(describe(value))

    def _convert(self, value: object, parts: "_Parts", depth: int) -> JsonValue:
        if id(value) in self._path:
            return self._left_out(value, "it contains itself", "cycles")
        if self._count > self._max_values:
            return self._left_out(value, f"the output has more than {self._max_values:,} values", "too many values")
        if depth == MAX_DEPTH:
            return self._convert_deep(value)
        if isinstance(value, set | frozenset):
            self.replaced.add("set")
        self._path.add(id(value))
        try:
            members = [self.convert(member, depth + 1) for member in parts.members]
        finally:
            self._path.remove(id(value))
        if parts.names is None:
            return members
        converted = dict(zip((self._text(str(name)) for name in parts.names), members, strict=True))
        if len(converted) < len(members):
            self.replaced.add("keys with the same text, of which the last is kept")
        return converted

    def _convert_deep(self, value: object) -> str:
        if self._is_deep:
            # JSON text within JSON text doubles its escapes with each level.
            return self._left_out(value, "it is nested too deeply", "deep nesting")
        self.replaced.add("deep nesting")
        self._is_deep = True
        try:
            return json.dumps(self.convert(value), ensure_ascii=False)
        except RecursionError:
            return self._left_out(value, "it is nested too deeply", "deep nesting")
        finally:
            self._is_deep = False

    def _left_out(self, value: object, why: str, what: str) -> str:
        self.replaced.add(what)
        return f"<{type(value).__name__} left out: {why}>"


@dataclass(frozen=True, slots=True)
class _Parts:
    """The members of a list, or the names and members of an object.

    They are copies, since a thread that was left behind may still change the value.
    """

    names: list[object] | None
    members: list[object]


def _take_apart(value: object) -> _Parts | None:
    """Return the parts of a list or object, None for any other value."""
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
