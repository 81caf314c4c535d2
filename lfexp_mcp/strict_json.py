"""JSON as RFC 8259 has it: no NaN, no infinity, no lone surrogates, all of which Python's own parser accepts."""

import json
import math
from contextlib import suppress

from pydantic import JsonValue

_BEGINNINGS = frozenset('{["-0123456789tfnNI')


def strict_loads(text: str, *, unique_names: bool = False) -> JsonValue:
    """Parse JSON.

    Args:
        unique_names: Whether to refuse objects with two members of one name, of which Python keeps the last.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or holds a number beyond a float's range or text that is not
            Unicode.
    """
    try:
        value: JsonValue = (_UNIQUE_DECODER if unique_names else _DECODER).decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def may_be_json(text: str) -> bool:
    """Whether a text begins as JSON, or what Python takes for it; parsing tells the rest, at several times the cost."""
    return text.lstrip(" \t\n\r")[:1] in _BEGINNINGS


def json_or_text(text: str) -> JsonValue:
    """Read an object or list as JSON, and anything else, a number too, as text."""
    if text.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            value: JsonValue = json.loads(text)
            return value
    return text


def finite_number(value: JsonValue) -> float | None:
    """Return a JSON number; None for anything else, and for one beyond a float's range."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # From its text, since an integer that is too large is an error otherwise.
    number = float(str(value))
    return number if math.isfinite(number) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has two members of one name")
    return members


# `json.loads` makes a decoder for each call.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_UNIQUE_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
