"""Datasets, judges and prompts: what the tools that list, show and create them answer."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue, WithJsonSchema

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, ToolAnswer


class DatasetEntry(Answer):
    """One dataset in a list."""

    name: str
    items: int | None = Field(default=None, description="Not set if it could not be counted.")
    last_run: str | None = None
    last_run_at: datetime | None = None
    description: str | None = None


class DatasetList(ToolAnswer):
    """The datasets of the project, newest first."""

    paged = frozenset({"datasets"})

    total: int
    datasets: list[DatasetEntry] = Field(default_factory=list)
    next_cursor: str | None = None


class MetadataKey(Answer):
    """One key of the items' metadata."""

    key: str
    items: int
    """How many have it."""
    distinct: int
    values: dict[str, int]
    """Items by value: all values, or of many the most frequent."""


class DatasetItemEntry(Answer):
    """One item of a dataset; its texts are untrusted."""

    item_id: str
    input: JsonValue = None
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] | None = None


_Items = Annotated[list[DatasetItemEntry], WithJsonSchema({"type": "array", "items": {"type": "object"}})]
"""Their fields are those of `create_dataset`, which a client need not be told twice."""


class DatasetDetail(ToolAnswer):
    """A dataset with a page of its items; only the first page tells more of the dataset than its name."""

    paged = frozenset({"items"})

    dataset: str
    description: str | None = None
    metadata: dict[str, JsonValue] | None = None
    total_items: int
    held_out: int = 0
    """Items that are set aside, and not among `total_items`."""
    metadata_keys: list[MetadataKey] | None = None
    runs: dict[str, str] | None = None
    """Status by name, the newest first."""
    items: _Items = Field(default_factory=list)
    next_cursor: str | None = None
    notice: str = UNTRUSTED_NOTICE


class JudgeEntry(Answer):
    """One judge; what follows `error` only of one that was asked for by name."""

    judge: str
    version: int | None = None
    """The one that a run would use, or that was asked for."""
    versions: str
    """All that there are, such as `1-3, 5`."""
    score_name: str | None = None
    scale: str | None = None
    scale_source: str | None = None
    model: str | None = None
    error: str | None = None
    """Why a run could not use it."""
    labels: dict[str, int] | None = None
    """The version that has each label."""
    prompt: JsonValue = None
    config: dict[str, JsonValue] | None = None


class JudgeList(ToolAnswer):
    """The judges of the project by name, or one of them."""

    paged = frozenset({"judges"})

    total: int
    judges: list[JudgeEntry] = Field(default_factory=list)
    next_cursor: str | None = None


class DatasetAnswer(ToolAnswer):
    """A dataset after its items were stored."""

    dataset: str
    stored: int = Field(description="Items created or replaced.")
    total_items: int
    held_out: int = 0
    """Items that are set aside, and not among `total_items`."""


class JudgeAnswer(ToolAnswer):
    """A judge as stored."""

    judge: str
    version: int
    labels: list[str] = Field(default_factory=list)
    score_name: str
    scale: str = Field(description="Of its replies, such as `0-10`.")
    scale_source: str
    model: str | None = Field(default=None, description="Set if a provider's key is.")
    placeholders: list[str] = Field(default_factory=list, description="Filled in the prompt per item.")


class PromptAnswer(ToolAnswer):
    """A prompt as stored."""

    prompt: str
    version: int
    labels: list[str] = Field(default_factory=list)
    model: str | None = None
    placeholders: list[str] = Field(default_factory=list)
