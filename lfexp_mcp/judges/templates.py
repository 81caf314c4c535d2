"""The placeholders of prompts, of judges and of tasks, and filling them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import JsonValue
from pydantic_core import to_json

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")
"""`{{name}}`, spaces within allowed; what is no name, such as `{{"score": 1}}`, is text."""

STANDARD = ("input", "output", "expected_output", "metadata")
"""What every item provides; beside it, each key of its metadata, as `metadata.key` or as `key` alone."""


def placeholders(texts: Iterable[str]) -> list[str]:
    """Return the names that the texts have placeholders for, each once, in order."""
    return list(dict.fromkeys(match[1] for text in texts for match in PLACEHOLDER.finditer(text)))


def fill(text: str, values: Mapping[str, object], enclose: Callable[[str], str] = str) -> str:
    """Replace the placeholders of a text in one pass: a value is never read as a template.

    Args:
        text: The template.
        values: What to put in by name. Strings go in as they are, None as nothing, all else as JSON. A name that is
            missing is replaced by nothing, see `missing_keys`.
        enclose: What to put around each value.
    """
    return PLACEHOLDER.sub(lambda match: enclose(as_text(values.get(match[1]))), text)


def as_text(value: object) -> str:
    """Write a value as a model gets to see it; what has no JSON of its own goes in as its text."""
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


def item_values(
    *, input: JsonValue, output: object, expected_output: JsonValue, metadata: Mapping[str, JsonValue], missing: str
) -> dict[str, object]:
    """Build what an item fills a judge's prompt with.

    Args:
        input: The item's input.
        output: What the task made of it.
        expected_output: The item's reference; None reads as `missing`.
        metadata: The item's metadata. A key of it never hides one of `STANDARD`; `metadata.key` always means the key.
        missing: Text for an expected output that there is not.
    """
    return {
        **metadata,
        **{f"metadata.{key}": value for key, value in metadata.items()},
        "input": input,
        "output": output,
        "expected_output": missing if expected_output is None else expected_output,
        "metadata": dict(metadata),
    }


def metadata_keys(names: Iterable[str]) -> dict[str, str]:
    """Return the placeholders that stand for a key of the item's metadata, with that key."""
    return {name: name.removeprefix("metadata.") for name in names if name not in STANDARD}


def missing_keys(names: Iterable[str], metadata: Sequence[Mapping[str, JsonValue]]) -> dict[str, int]:
    """Count, per placeholder that stands for a metadata key, the items that lack it; none of those no item lacks."""
    lacking = {name: sum(key not in each for each in metadata) for name, key in metadata_keys(names).items()}
    return {name: count for name, count in lacking.items() if count}
