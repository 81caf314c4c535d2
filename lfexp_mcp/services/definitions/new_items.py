"""Dataset items as a caller gives them."""

import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

MAX_ID_CHARS = 255
MAX_NESTING = 150
"""Levels; Pydantic, which reads the items of a run, gives up at 200."""

ItemField = Literal["id", "input", "expected_output"]
FieldNames = dict[ItemField, str]
"""Which key or column of a file holds a field, where it has another name: `{"input": "question"}`."""

HoldoutArgument = Annotated[
    float | str | None,
    Field(description="Items to set aside unseen: a share (`0.3`), or `split=test` in their metadata. For good."),
]


class NewItem(BaseModel):
    """A dataset item to store."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ID_CHARS,
        description="Unique in the project; without it one is derived from dataset and content, so that "
        "importing the same item again changes nothing.",
    )
    input: JsonValue = Field(description="What the task gets as `item.input`: text or any JSON.")
    expected_output: JsonValue = Field(default=None, description="The reference that evaluators and judges get.")
    metadata: dict[str, JsonValue] | None = Field(default=None, description="Anything else; results are sliced by it.")

    @field_validator("input", "expected_output", "metadata", mode="before")
    @classmethod
    def _is_json(cls, value: object) -> object:
        check_json(value)
        return value


class CollectedItem(NewItem):
    """A dataset item made of a production trace, or of a result of a run, to which it is linked."""

    source_trace_id: str | None = None
    source_observation_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemProgress:
    """How far a call that stores items is: all are checked before the first is stored."""

    checked: int
    stored: int = 0
    total: int | None = None
    """How many will be stored; None until all are checked."""

    def __str__(self) -> str:
        return f"{self.stored}/{self.total} items stored" if self.stored else f"{self.checked} items checked"


OnItems = Callable[[ItemProgress], Coroutine[object, None, None]]
"""Called at most once a second, as long as there is progress."""


def check_json(value: object) -> None:
    """Check that Langfuse can store a value as JSON.

    Raises:
        ValueError: It holds NaN, an infinity or a lone surrogate, or is nested too deeply to be read back.
    """
    if _nesting(value) > MAX_NESTING:
        raise ValueError(f"it is nested more than {MAX_NESTING} levels deep")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it contains a lone surrogate, which is not valid text") from None
    except ValueError:
        raise ValueError("it contains NaN or an infinity, which JSON does not have") from None


def _nesting(value: object) -> int:
    """How deeply a value is nested, counted no further than needed."""
    levels = 0
    inside = [value]
    while inside and levels <= MAX_NESTING:
        inside = [inner for each in inside for inner in _members(each)]
        levels += 1
    return levels


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
