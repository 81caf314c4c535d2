"""Conditions on metadata, as callers write them: `language=de and difficulty in [hard, medium]`.

    condition  = key operator value | key ["not"] "in" "[" value {"," value} "]"
    conditions = condition {("and" | "," | ";" | "&&") condition}

A value in quotes is that text. One without matches by what it looks like: `10` the number 10 and the text `10`, `true`
the truth value and the text, `null` null and the text. Of a list, one member has to match. `<`, `<=`, `>`, `>=` compare
numbers, also those that are written as text. A key with dots is a key of that name, or the path to a nested one.
"""

import json
import math
import operator
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, UsageError

MAX_CHARS = 1000
MAX_VALUES_SHOWN = 8
MAX_SHOWN_CHARS = 40

_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_QUOTED = r"\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|`[^`]*+`"
_KEY = re.compile(
    rf"\s*+(?P<key>{_QUOTED}|[^=!<>,;\"'`\[\]()]+?)"
    r"(?:\s*(?P<operator>==|!=|<=|>=|[=<>])|\s+(?P<not>not\s+)?in(?=\s*[\[(]))\s*",
    re.IGNORECASE,
)
_VALUE = re.compile(rf"\s*+(?P<value>{_QUOTED}|[^=!<>,;\"'`]*?)\s*(?=,|;|&&|\s(?:and|or|&&)\s|$)", re.IGNORECASE)
_MEMBER = re.compile(rf"\s*+(?P<value>{_QUOTED}|[^,\[\]()\"'`]*)\s*(?P<end>[,\])])")
_AND = re.compile(r"\s*(?:,|;|&&|\sand\s)", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_WORDS: Mapping[str, JsonValue] = {"true": True, "false": False, "null": None, "none": None}
_FORMS = (
    "Write `key=value`, `key!=value`, `key in [a, b]`, `key not in [a, b]`, or a number with <, <=, > or >=; join "
    "several with `and`, and put a value with other signs in quotes."
)


class _HasMetadata(Protocol):
    @property
    def metadata(self) -> Mapping[str, JsonValue]: ...


T = TypeVar("T", bound=_HasMetadata)


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    quoted: bool

    def matches(self, found: JsonValue) -> bool:
        if isinstance(found, list):
            return any(self.matches(member) for member in found if not isinstance(member, list))
        word = None if self.quoted else self.text.casefold()
        if isinstance(found, str):
            return _normal(found) == self.text or (word in _WORDS and found.casefold() == word)
        if word is None or isinstance(found, dict):
            return False
        if found is None or isinstance(found, bool):
            return word in _WORDS and _WORDS[word] is found
        return _number(self.text) == found


@dataclass(frozen=True, slots=True)
class MetadataCondition:
    """One condition on metadata."""

    key: str
    values: tuple[_Value, ...]
    """Of which one has to match."""
    order: str | None = None
    """How numbers compare with the only value; None for equality."""
    negated: bool = False

    def holds(self, metadata: Mapping[str, JsonValue]) -> bool:
        """Whether metadata meet it. What lacks the key meets only `!=` and `not in`."""
        return any(self._meets(found) for found in values_at(metadata, self.key)) is not self.negated

    def _meets(self, found: JsonValue) -> bool:
        if self.order is None:
            return any(value.matches(found) for value in self.values)
        number, limit = _number(found), _number(self.values[0].text)
        return number is not None and limit is not None and _ORDERS[self.order](number, limit)

    def __str__(self) -> str:
        values = ", ".join(value.text for value in self.values)
        return f"{self.key}{self.order or ('!=' if self.negated else '=')}{values}"


def parse_conditions(text: str) -> list[MetadataCondition]:
    """Parse conditions that have to hold together.

    Raises:
        ValueError: They cannot be read; the message says how to write them.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"a condition has at most {MAX_CHARS} characters, not {len(text):,}.")
    found, at = [], 0
    while True:
        condition, at = _parse_one(text, at)
        found.append(condition)
        if not text[at:].strip():
            return found
        joined = _AND.match(text, at)
        if joined is None:
            raise ValueError(f"{_shown(text[at:].strip())!r} cannot follow a condition. {_FORMS}")
        at = joined.end()


def _parse_one(text: str, at: int) -> tuple[MetadataCondition, int]:
    """Parse the condition at a place; return it and where it ends."""
    key = _KEY.match(text, at)
    if key is None:
        raise ValueError(f"{_shown(text[at:].strip())!r} is not a condition. {_FORMS}")
    name, sign = _unquoted(key["key"]).text, key["operator"]
    if sign is None:
        values, at = _parse_list(text, key.end())
        return MetadataCondition(name, values, negated=key["not"] is not None), at
    match = _VALUE.match(text, key.end())
    if match is None:
        raise ValueError(f"the value of {_shown(name)!r} cannot be read. {_FORMS}")
    value = _unquoted(match["value"])
    if not value.text and not value.quoted:
        raise ValueError(f'{_shown(name)!r} has no value: write {_shown(name)}="" for the empty text.')
    if sign in _ORDERS:
        if value.quoted or _number(value.text) is None:
            raise ValueError(f"{_shown(value.text)!r} is not a number, and only numbers have an order: use `in [...]`.")
        return MetadataCondition(name, (value,), order=sign), match.end()
    return MetadataCondition(name, (value,), negated=sign == "!="), match.end()


def _parse_list(text: str, at: int) -> tuple[tuple[_Value, ...], int]:
    at += 1
    values: list[_Value] = []
    while True:
        match = _MEMBER.match(text, at)
        if match is None:
            raise ValueError(f"the list {_shown(text[at - 1 :])!r} has no end. {_FORMS}")
        at = match.end()
        value = _unquoted(match["value"].strip())
        if value.text or value.quoted:
            values.append(value)
        if match["end"] != ",":
            break
    if not values:
        raise ValueError("an empty list matches nothing.")
    return tuple(values), at


def values_at(metadata: Mapping[str, JsonValue], key: str) -> list[JsonValue]:
    """Return the values that a key names: its own, and the one that it is the path to."""
    found: list[JsonValue] = [metadata[key]] if key in metadata else []
    head, dot, rest = key.partition(".")
    nested = metadata.get(head) if dot else None
    if isinstance(nested, Mapping):
        found += values_at(nested, rest)
    if not found and head == "metadata" and dot:
        found = values_at(metadata, rest)
    return found


def select(entries: Sequence[T], text: str) -> tuple[list[T], list[str]]:
    """Select the entries whose metadata meet conditions.

    Args:
        entries: Dataset items, or results of them.
        text: The conditions.

    Returns:
        The entries, and notes on what a reader of the conditions may not expect.

    Raises:
        UsageError: The conditions cannot be read, or no entry meets them.
        NotFoundError: No entry has a key that they name.
    """
    try:
        conditions = parse_conditions(text)
    except ValueError as error:
        raise UsageError(f"The condition cannot be read: {error}") from None
    notes = [note for condition in conditions for note in _notes(condition, entries)]
    chosen = [entry for entry in entries if all(condition.holds(entry.metadata) for condition in conditions)]
    if not chosen:
        known = " ".join(dict.fromkeys(_known_values(condition.key, entries) for condition in conditions))
        raise UsageError(f"No item of {len(entries)} has {_shown(text.strip())}. {known}")
    return chosen, notes


def _notes(condition: MetadataCondition, entries: Sequence[_HasMetadata]) -> Iterator[str]:
    found = [values_at(entry.metadata, condition.key) for entry in entries]
    lacking = sum(not values for values in found)
    if lacking == len(entries):
        keys = Counter(key for entry in entries for key in entry.metadata)
        raise NotFoundError.of(
            "key in the items' metadata", _shown(condition.key), [key for key, _ in keys.most_common()]
        )
    if condition.negated and lacking:
        yield f"{lacking} of {len(entries)} items have no {condition.key!r}; they meet {_shown(str(condition))} too."
    if len(condition.values) > 1:
        for value in condition.values:
            if not any(value.matches(each) for values in found for each in values):
                yield f"No item has {_shown(condition.key)}={_shown(value.text)}."


def _known_values(key: str, entries: Sequence[_HasMetadata]) -> str:
    counts = Counter(
        _shown(json.dumps(value, ensure_ascii=False)) for entry in entries for value in values_at(entry.metadata, key)
    )
    shown = ", ".join(f"{value} ({count})" for value, count in counts.most_common(MAX_VALUES_SHOWN))
    more = f" and {len(counts) - MAX_VALUES_SHOWN} more" if len(counts) > MAX_VALUES_SHOWN else ""
    return f"Values of {_shown(key)!r}: {shown}{more}."


def _unquoted(text: str) -> _Value:
    if re.fullmatch(_QUOTED, text):
        return _Value(_normal(re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] != "`" else text[1:-1]), quoted=True)
    return _Value(_normal(text), quoted=False)


def _normal(text: str) -> str:
    """Text typed on some systems comes decomposed."""
    return unicodedata.normalize("NFC", text)


def _number(value: JsonValue) -> float | None:
    """Return a number, also one that is written as text; None for anything else."""
    if isinstance(value, str):
        number = float(value) if _NUMBER.fullmatch(value) else math.nan
        return number if math.isfinite(number) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
