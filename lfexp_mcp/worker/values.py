"""From what a task returns to what JSON can hold."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from pathlib import PurePath
from uuid import UUID

from pydantic import BaseModel, JsonValue

DEEPEST = 64
"""Levels of nesting that are kept; what lies deeper, or goes in circles, is kept as text."""
LARGEST_SAFE_INTEGER = 2**53 - 1
"""Larger integers lose digits in Langfuse, whose numbers are those of JavaScript (`Number.MAX_SAFE_INTEGER`)."""


class JsonReading:
    """One value on its way to JSON.

    Attributes:
        changed: Names of the types that JSON does not have, and that were replaced.
    """

    def __init__(self) -> None:
        self.changed: set[str] = set()

    def read(self, value: object, depth: int = 0) -> JsonValue:
        """Return the value as JSON holds it.

        Text, booleans, finite numbers, lists and string-keyed mappings stay as they are. Pydantic models, dataclasses
        and named tuples become objects; sets and other iterables of values, lists; dates, paths, ids and enums, their
        usual text or value; bytes, their UTF-8 text where it is such. NaN, infinities, huge integers and all other
        objects become text, and are noted in `changed`.
        """
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._read_text(value)
        if isinstance(value, Enum):
            return self.read(value.value, depth)
        if isinstance(value, int):
            return value if abs(value) <= LARGEST_SAFE_INTEGER else self._as_text(value, "large integer")
        if isinstance(value, float):
            return value if math.isfinite(value) else self._as_text(value, str(value))
        if depth >= DEEPEST:
            return self._as_text(value, "deep nesting")
        return self._read_structure(value, depth + 1)

    def _read_text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.changed.add("lone surrogates")
            return value.encode("utf-8", "replace").decode()
        return str(value)

    def _read_structure(self, value: object, depth: int) -> JsonValue:
        if isinstance(value, BaseModel):
            return self.read(value.model_dump(), depth)
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.read(getattr(value, field.name), depth) for field in fields(value)}
        if isinstance(value, Mapping):
            return {str(key): self.read(member, depth) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return self._read_sequence(value, depth)
        if isinstance(value, set | frozenset):
            self.changed.add("set")
            return [self.read(member, depth) for member in sorted(value, key=repr)]
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, PurePath | UUID):
            return str(value)
        if isinstance(value, bytes | bytearray):
            self.changed.add("bytes")
            return value.decode("utf-8", "backslashreplace")
        return self._as_text(value, type(value).__name__)

    def _read_sequence(self, value: Iterable[object], depth: int) -> JsonValue:
        names = getattr(value, "_fields", None)
        if names is not None:
            return {name: self.read(member, depth) for name, member in zip(names, value, strict=True)}
        return [self.read(member, depth) for member in value]

    def _as_text(self, value: object, what: str) -> str:
        self.changed.add(what)
        return self._read_text(describe(value))


def describe(value: object) -> str:
    """Return the text of any object, even of one that fails to give one."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - it is the user's `__str__`
        return f"<{type(value).__name__} whose text fails with {type(error).__name__}>"
