"""Placeholders such as `{{input}}` in prompts, and how they are filled."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

from pydantic import JsonValue
from pydantic_core import to_json

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")
"""`{{name}}`, spaces allowed inside; anything else in braces, such as `{{"score": 1}}`, is text."""
STANDARD = ("input", "output", "expected_output", "metadata", "trace", "tool_calls")
"""Provided by every item, as is each key of its metadata, as `metadata.key` or `key`."""


def placeholders(texts: Iterable[str]) -> list[str]:
    """Return the names of the placeholders in the texts, each once, in order."""
    return list(dict.fromkeys(match[1] for text in texts for match in PLACEHOLDER.finditer(text)))


def fill(text: str, values: Mapping[str, object], enclose: Callable[[str], str] = str) -> str:
    """Replace the placeholders of a text in one pass, so that a value is never read as a template.

    Args:
        values: The values by name. Strings are inserted as they are, None and missing names as nothing, anything else
            as JSON.
        enclose: Wraps each value.
    """
    return PLACEHOLDER.sub(lambda match: enclose(as_text(values.get(match[1]))), text)


def as_text(value: object) -> str:
    """Write a value as a model sees it: strings as they are, else JSON, else `str()`."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = to_json(value, fallback=str, inf_nan_mode="constants").decode()
        except ValueError:
            text = str(value)
    return text.encode("utf-8", "replace").decode()


class JudgedItem(TypedDict):
    """What a judge is asked about: a dataset item, and what the task returned for it."""

    input: JsonValue
    output: object
    expected_output: JsonValue
    metadata: dict[str, JsonValue]


def item_values(item: JudgedItem, missing: str) -> dict[str, object]:
    """Build the values that fill a judge's prompt for one item.

    Args:
        item: The item. A key of its metadata never hides one of `STANDARD`; `metadata.key` always means the key.
        missing: Text in place of a missing expected output.
    """
    metadata, expected = item["metadata"], item["expected_output"]
    keys = {f"metadata.{key}": value for key, value in metadata.items()}
    return {**metadata, **keys, **item, "expected_output": missing if expected is None else expected}


def missing_keys(names: Iterable[str], metadata: Sequence[Mapping[str, JsonValue]]) -> dict[str, int]:
    """Count, for each placeholder of a metadata key, the items without that key; keys that all have are left out."""
    counts = {name: sum(_metadata_key(name) not in each for each in metadata) for name in names if name not in STANDARD}
    return {name: count for name, count in counts.items() if count}


def unknown_placeholders(names: Sequence[str], keys: Sequence[str]) -> str:
    """Describe placeholders without a value, with similar names and what can be used instead."""
    listed = ", ".join(f"{{{{{name}}}}}" for name in names)
    similar = dict.fromkeys(
        match for name in names for match in difflib.get_close_matches(_metadata_key(name), [*STANDARD, *keys], n=1)
    )
    hint = f" Did you mean {' or '.join(f'{{{{{name}}}}}' for name in similar)}?" if similar else ""
    or_key = f", or a key of the items' metadata ({', '.join(keys[:10])})" if keys else ""
    return f"{listed} is not provided.{hint} Use {', '.join(STANDARD)}{or_key}."


def _metadata_key(name: str) -> str:
    return name.removeprefix("metadata.")
