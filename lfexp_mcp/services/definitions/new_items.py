"""What a caller gives of a dataset item."""

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

ID_LENGTH = 255
DEEPEST = 150
"""Levels of nesting: Pydantic, through which the items of a run are read, gives up at 200."""

ItemField = Literal["id", "input", "expected_output"]
FieldNames = dict[ItemField, str]
"""Which key or column of a file holds a field, where the file names it otherwise: `{"input": "question"}`."""


class NewItem(BaseModel):
    """One dataset item to store."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=ID_LENGTH,
        description="Unique in the project; without it one is derived from dataset and content, so that "
        "importing the same item again changes nothing.",
    )
    input: JsonValue = Field(description="What the task gets as `item.input`: text or any JSON.")
    expected_output: JsonValue = Field(default=None, description="The reference that evaluators and judges get.")
    metadata: dict[str, JsonValue] | None = Field(default=None, description="Anything else; results are sliced by it.")

    @field_validator("input", "expected_output", "metadata", mode="before")
    @classmethod
    def _is_json(cls, value: object) -> object:
        refuse_what_json_has_not(value)
        return value


def refuse_what_json_has_not(value: object) -> None:
    """Refuse a value that Langfuse could not store as JSON.

    Raises:
        ValueError: It holds NaN, an infinity or broken text, or is nested too deeply to be read again.
    """
    if _levels(value) > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half a surrogate pair, which is no text") from None
    except ValueError:
        raise ValueError("it holds NaN or an infinity, which JSON has not") from None


def _levels(value: object) -> int:
    """How deep a value is nested, counted no further than needed."""
    levels = 0
    inside = [value]
    while inside and levels <= DEEPEST:
        inside = [inner for each in inside for inner in _members(each)]
        levels += 1
    return levels


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
