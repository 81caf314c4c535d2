"""What the metadata of a dataset's items hold: their keys, with the values and how many items have each."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from lfexp_mcp.answers.catalog import MetadataKey

MAX_KEYS = 40
"""Keys shown, those of the most items."""
MAX_VALUES = 20
"""A key with more different values shows only its most frequent ones."""
FREQUENT_VALUES = 5
MAX_VALUE_CHARS = 80
"""Longer values are only counted as different."""

_PLAIN = re.compile(r"[^\W\d_][\w-]*")
_MEANS_SOMETHING_ELSE = frozenset({"true", "false", "null", "none", "nan", "inf", "infinity", "and", "or", "not", "in"})


@dataclass(slots=True)
class _Key:
    items: int = 0
    values: Counter[str] = field(default_factory=Counter)


def count_metadata(metadata: Iterable[Mapping[str, JsonValue]]) -> list[MetadataKey]:
    """Count keys and values, those of the most items first.

    Nested keys are joined by dots, and each member of a list is a value. Values are written as a condition on metadata
    takes them: the text `10` is `"10"`, the number is `10`.

    Args:
        metadata: That of each item.

    Returns:
        All keys. Of one with more than `MAX_VALUES` different values, the few most frequent values that occur more than
        once.
    """
    found: dict[str, _Key] = {}
    for each in metadata:
        values: dict[str, set[str]] = {}
        for name, value in _values(each):
            values.setdefault(name, set()).add(value)
        for name, of_item in values.items():
            key = found.setdefault(name, _Key())
            key.items += 1
            key.values.update(of_item)
    counted = [
        MetadataKey(key=name, items=key.items, distinct=len(key.values), values=_shown(key.values))
        for name, key in found.items()
    ]
    return sorted(counted, key=lambda key: (-key.items, key.key))


def _values(metadata: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _values(value, f"{name}.")
        elif isinstance(value, list) and value:
            yield from ((name, condition_value(member)) for member in value)
        else:
            yield name, condition_value(value)


def _shown(values: Counter[str]) -> dict[str, int]:
    frequent = sorted(values.items(), key=lambda counted: (-counted[1], counted[0]))
    if len(values) > MAX_VALUES:
        frequent = [(value, count) for value, count in frequent[:FREQUENT_VALUES] if count > 1]
    return {value: count for value, count in frequent if len(value) <= MAX_VALUE_CHARS}


def condition_value(value: JsonValue) -> str:
    """Write a metadata value as a condition takes it: a text that could be read as something else in quotes.

    Example:
        `condition_value("de") == "de"`, `condition_value("10") == '"10"'`, `condition_value(1.0) == "1"`
    """
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value.casefold() not in _MEANS_SOMETHING_ELSE
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        return json.dumps(int(value))
    return json.dumps(value, ensure_ascii=False)
