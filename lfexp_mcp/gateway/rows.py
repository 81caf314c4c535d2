"""Rows that come by the thousand, as Langfuse sends them.

The SDK takes some 10 ms to parse one result of a run, ten seconds for a thousand; these models take microseconds.
"""

from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

Row = TypeVar("Row")


class _Row(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class SubjectRow(_Row):
    """What a score is a score of."""

    kind: str
    id: str
    trace_id: str | None = None


class ScoreRow(_Row):
    """A score, with those of its fields that were asked for."""

    id: str
    name: str
    data_type: Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT", "CORRECTION"]
    value: bool | float | str
    source: str
    timestamp: datetime | None = None
    comment: str | None = None
    config_id: str | None = None
    author_user_id: str | None = None
    queue_id: str | None = None
    metadata: dict[str, JsonValue] | None = None
    subject: SubjectRow | None = None


class DatasetItemRow(_Row):
    """One item of a dataset."""

    id: str
    dataset_id: str
    status: str = "ACTIVE"
    input: JsonValue = None
    expected_output: JsonValue = None
    metadata: JsonValue = None
    source_trace_id: str | None = None
    created_at: datetime
    updated_at: datetime


class ExperimentItemRow(_Row):
    """One result of a run."""

    id: str
    trace_id: str
    start_time: datetime
    end_time: datetime | None = None
    level: str | None = None
    experiment_id: str
    experiment_item_id: str
    input: JsonValue = None
    output: JsonValue = None
    expected_output: JsonValue = None
    experiment_item_metadata: dict[str, JsonValue] | None = None
    experiment_description: str | None = None
    scores: tuple[ScoreRow, ...] = ()


class ExperimentRow(_Row):
    """The head of a run."""

    id: str
    name: str
    description: str | None = None
    start_time: datetime
    end_time: datetime
    item_count: int
    dataset_id: str | None = None
    metadata: dict[str, JsonValue] | None = None
    scores: tuple[ScoreRow, ...] = ()


class ObservationRow(_Row):
    """One observation."""

    id: str
    trace_id: str | None = None
    type: str
    start_time: datetime
    end_time: datetime | None = None
    name: str | None = None
    parent_observation_id: str | None = None
    level: str | None = None
    environment: str | None = None
    session_id: str | None = None
    input: JsonValue = None
    output: JsonValue = None
    metadata: dict[str, JsonValue] | None = None
    model: str | None = None
    usage_details: dict[str, float] | None = None
    total_cost: float | None = None


class _Meta(_Row):
    cursor: str | None = None


class Page(BaseModel, Generic[Row]):
    """One page of a listing that goes on by cursor."""

    data: list[Row]
    meta: _Meta = Field(default_factory=_Meta)


class _NumberedMeta(_Row):
    total_items: int
    total_pages: int


class NumberedPage(BaseModel, Generic[Row]):
    """One page of a listing whose pages have numbers."""

    data: list[Row]
    meta: _NumberedMeta
