"""How built-in evaluators read and compare outputs and references, which are JSON.

Langfuse parses the texts of a dataset that are JSON, so a text and another value are the same where the text
is JSON for the value. Texts are the same in any of Unicode's canonical forms, with either kind of line end, and with or
without white space at their ends.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from pydantic import JsonValue

from lfexp_mcp.strict_json import strict_loads

MAX_SHOWN_CHARS = 80
_FENCE = re.compile(r"\s*```\w*\n(.*?)\n?```\s*", re.DOTALL)
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


def kind_of(value: object) -> str:
    """Name the JSON type of a value, with its article."""
    return next((name for types, name in _KINDS if isinstance(value, types)), f"a {type(value).__name__}")


def show(value: object) -> str:
    """Return the beginning of a value as JSON, for a comment."""
    text = json.dumps(value[: MAX_SHOWN_CHARS + 1] if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def to_text(value: JsonValue) -> str:
    """Return a text as it is, and the JSON text of another value, with sorted keys."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def normalise(text: str, *, ignore_case: bool = False) -> str:
    """Return a text in the form in which texts are compared."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


def parse_text(text: str) -> JsonValue:
    """Parse a text as JSON, which may be the only content of a Markdown fence.

    Raises:
        ValueError: It is not JSON, or an object in it has two members of one name.
    """
    fenced = _FENCE.fullmatch(text)
    return strict_loads(fenced[1] if fenced else text, unique_names=True)


def same(one: JsonValue, other: JsonValue, *, ignore_case: bool = False) -> bool:
    """Whether two values are the same; see the module."""
    text, value = (one, other) if isinstance(one, str) else (other, one)
    if not isinstance(text, str) or isinstance(value, str):
        return equal(one, other, ignore_case=ignore_case)
    if normalise(text, ignore_case=ignore_case) == normalise(to_text(value), ignore_case=ignore_case):
        return True
    if _FENCE.fullmatch(text):
        return False
    try:
        return equal(parse_text(text), value, ignore_case=ignore_case)
    except ValueError:
        return False


def equal(one: JsonValue, other: JsonValue, *, ignore_case: bool = False, ignore_order: bool = False) -> bool:
    """Whether two values are equal in JSON: types count, 1 and 1.0 are one number, and true is not a number."""
    return _canonical(one, ignore_case, ignore_order) == _canonical(other, ignore_case, ignore_order)


def _canonical(value: JsonValue, ignore_case: bool, ignore_order: bool) -> tuple[str, object]:
    """Return nested tuples that are equal where the values are equal."""
    match value:
        case str():
            return "text", normalise(value, ignore_case=ignore_case)
        case dict():
            names = {unicodedata.normalize("NFC", name): member for name, member in value.items()}
            return "object", [(name, _canonical(names[name], ignore_case, ignore_order)) for name in sorted(names)]
        case list():
            members = [_canonical(member, ignore_case, ignore_order) for member in value]
            return "list", sorted(members, key=repr) if ignore_order else members
        case bool() | None:
            return "constant", value
        case _:
            return "number", int(value) if isinstance(value, float) and value.is_integer() else value


def as_decimal(value: float) -> Decimal | None:
    """Return a number as it is written, `0.1` as a tenth; None if it is not finite."""
    number = Decimal(repr(value))
    return number if number.is_finite() else None


def descend(value: JsonValue) -> Iterator[JsonValue]:
    """Yield a value and all values in it; names of members are left out."""
    yield value
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        yield from descend(member)


class Missing:
    """That there is no such field, which differs from null."""


MISSING: Final = Missing()


def lookup(value: JsonValue, path: str) -> JsonValue | Missing:
    """Return the field at a path; a member whose name has the dots of the path comes first."""
    if not isinstance(value, Mapping):
        return MISSING
    if path in value:
        return value[path]
    for at, character in enumerate(path):
        if character == "." and path[:at] in value:
            found = lookup(value[path[:at]], path[at + 1 :])
            if found is not MISSING:
                return found
    return MISSING
