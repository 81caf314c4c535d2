"""Parameters of a run: what its task is given beside the items."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

MAX_CHARS = 4000
"""Of the parameters as JSON, since a run's metadata goes with every span."""
MAX_SHOWN_CHARS = 60


def check_params(params: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Check that parameters can be stored with a run, and return them.

    Raises:
        ValueError: They are not JSON, or too long; the message is a clause that says so.
    """
    for name, value in params.items():
        try:
            json.dumps([name, value], allow_nan=False, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name!r} has a lone surrogate, which is not valid text") from None
        except ValueError:
            raise ValueError(f"{name!r} is not JSON, which has neither NaN nor infinity") from None
    length = len(json.dumps(params, ensure_ascii=False))
    if length > MAX_CHARS:
        raise ValueError(f"they have {length:,} characters, and at most {MAX_CHARS:,} are stored: pass a file's path")
    return params


def param_changes(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[str]:
    """List the parameters that differ, such as `k: 3 -> 4`; 1 and 1.0 are the same number; true is not 1."""
    names = sorted(before.keys() | after.keys())
    texts = {name: [_text(each[name]) if name in each else "not set" for each in (before, after)] for name in names}
    return [f"{name}: {_cut(first)} -> {_cut(second)}" for name, (first, second) in texts.items() if first != second]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}… ({len(text)} characters)"


def _text(value: JsonValue) -> str:
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: JsonValue) -> JsonValue:
    """Write whole numbers as such."""
    match value:
        case dict():
            return {key: _plain(member) for key, member in value.items()}
        case list():
            return [_plain(member) for member in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
