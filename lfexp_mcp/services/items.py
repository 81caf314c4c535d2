"""What a caller gives of a dataset item."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

ID_LENGTH = 255

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
