"""Fields of JSON objects, named by paths such as `address.city`."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue


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
