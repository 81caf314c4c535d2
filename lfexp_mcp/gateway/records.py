"""What Langfuse holds, read from its JSON. Dataset items, results and scores are types of `lfexp_mcp.model`."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BeforeValidator,
    Field,
    JsonValue,
    PlainValidator,
    ValidationInfo,
)

from lfexp_mcp import model
from lfexp_mcp.gateway.wire import WIRE, JsonObject, Metadata, Scores, TextOrNone, Value
from lfexp_mcp.model import BOOLEAN, HOLDOUT_KEY, Category, Holdout, PromptMessage, Scale, ScoreDataType
from lfexp_mcp.strict_json import strict_loads

CommentObject = Literal["TRACE", "OBSERVATION", "SESSION", "PROMPT"]
EXPERIMENT_ENVIRONMENT = "sdk-experiment"
"""Environment of what experiments write, the SDK's and ours: not production."""

CUT_METADATA_CHARS = 200
"""Langfuse cuts values of an observation's metadata there."""

_Created = Annotated[datetime, Field(alias="createdAt")]
_Started = Annotated[datetime, Field(alias="startTime")]
_Author = Annotated[str | None, Field(alias="authorUserId")]


def _split_metadata(metadata: object) -> tuple[dict[str, JsonValue], JsonValue]:
    """Split a dataset's metadata into the user's and the holdout, which is None where there is none."""
    text = metadata
    while isinstance(metadata, str):
        try:
            metadata = strict_loads(metadata)
        except ValueError:
            break
    if not isinstance(metadata, dict):
        # A holdout that cannot be read is still one.
        return {}, str(text) if HOLDOUT_KEY in str(text) else None
    recorded = metadata.get(HOLDOUT_KEY)
    if isinstance(recorded, str):
        with suppress(ValueError):
            recorded = strict_loads(recorded)
    is_declared = HOLDOUT_KEY in metadata
    others = {key: value for key, value in metadata.items() if key != HOLDOUT_KEY}
    return others, {} if is_declared and recorded is None else recorded


def _without_holdout(metadata: object) -> dict[str, JsonValue]:
    return _split_metadata(metadata)[0]


def _holdout(metadata: object, info: ValidationInfo) -> Holdout | None:
    _, recorded = _split_metadata(metadata)
    return None if recorded is None else Holdout.parse(recorded, str(info.data.get("id", "")))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset, without its items."""

    __pydantic_config__ = WIRE

    id: str
    name: str
    created: _Created
    description: str | None = None
    metadata: Annotated[dict[str, JsonValue], BeforeValidator(_without_holdout)] = field(default_factory=dict)
    """Without the holdout."""
    holdout: Annotated[Holdout | None, Field(validation_alias="metadata"), PlainValidator(_holdout)] = None
    """Which of its items are set aside; None if it has no holdout."""


@dataclass(frozen=True, slots=True)
class ProjectHoldouts:
    """All holdouts of a project, to tell which traces are of held-out items."""

    by_dataset: Mapping[str, Holdout]
    """By the dataset's id."""
    sources: frozenset[str]
    """Production traces that held-out items were made of."""

    def holds(self, root: "Observation") -> bool:
        """Whether a trace, by its root, is of a held-out item, or it cannot be told."""
        if root.trace_id in self.sources:
            return True
        item_id, dataset_id = root.metadata.get("dataset_item_id"), root.metadata.get("dataset_id")
        if item_id is None:
            return root.environment == EXPERIMENT_ENVIRONMENT and dataset_id is None
        holdouts = list(self.by_dataset.values())
        if isinstance(dataset_id, str):
            holdouts = [holdout] if (holdout := self.by_dataset.get(dataset_id)) is not None else []
        if holdouts and (isinstance(item_id, bool) or not isinstance(item_id, str | int)):
            # Read as JSON, so that its text is not known.
            return True
        # An id that is as long may be cut.
        return any(len(str(item_id)) >= CUT_METADATA_CHARS or holdout.holds(str(item_id)) for holdout in holdouts)


@dataclass(frozen=True, slots=True)
class PromptInfo:
    """A prompt's name and versions, without its text."""

    name: str
    type: Literal["text", "chat"]
    versions: tuple[int, ...]
    labels: tuple[str, ...]


def _without_placeholders(prompt: object) -> object:
    """Leave out a chat prompt's placeholders for whole messages, which have no content."""
    if not isinstance(prompt, list):
        return prompt
    return tuple(message for message in prompt if not isinstance(message, dict) or message.get("type") != "placeholder")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt."""

    __pydantic_config__ = WIRE

    name: str
    version: int
    prompt: Annotated[str | tuple[PromptMessage, ...], BeforeValidator(_without_placeholders)]
    """The text of a text prompt, or the messages of a chat prompt."""
    config: JsonObject = field(default_factory=dict)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """The values that a project allows for scores of one name."""

    __pydantic_config__ = WIRE

    id: str
    name: str
    data_type: ScoreDataType
    min_value: float | None = None
    max_value: float | None = None
    categories: Annotated[tuple[Category, ...], BeforeValidator(lambda listed: listed or ())] = ()
    is_archived: bool = False

    @property
    def scale(self) -> Scale | None:
        """The scale of the scores; None if an end is open, or text is allowed."""
        if self.data_type == "BOOLEAN":
            return BOOLEAN
        if self.data_type == "CATEGORICAL" and len({category.value for category in self.categories}) > 1:
            return Scale.of_categories(self.categories)
        if self.data_type == "NUMERIC" and self.min_value is not None and self.max_value is not None:
            return Scale(self.min_value, self.max_value) if self.min_value < self.max_value else None
        return None


@dataclass(frozen=True, slots=True)
class Experiment:
    """A run as Langfuse lists it, without its results."""

    __pydantic_config__ = WIRE

    id: str
    name: str
    created: _Started
    ended: Annotated[datetime, Field(alias="endTime")]
    item_count: int
    """Results recorded, repeats of an item included."""
    dataset_id: str | None = None
    description: TextOrNone = None
    """Often missing here; `Experiments.described_results` has it reliably."""
    metadata: Metadata = field(default_factory=dict)
    scores: Scores = ()
    """Scores of the run as a whole."""


@dataclass(frozen=True, slots=True)
class Comment:
    """What a human wrote on a trace, observation, session or prompt."""

    __pydantic_config__ = WIRE

    id: str
    object_type: CommentObject
    object_id: str
    content: str
    created: _Created
    author: _Author = None


@dataclass(frozen=True, slots=True)
class Observation(model.Observation):
    """One span, generation or event of a trace, as Langfuse lists it."""

    __pydantic_config__ = WIRE

    started: _Started
    ended: Annotated[datetime | None, Field(alias="endTime")] = None
    trace_id: Annotated[str, BeforeValidator(lambda trace_id: trace_id or "")] = ""
    parent_id: Annotated[str | None, Field(alias="parentObservationId")] = None
    status_message: TextOrNone = None
    session_id: TextOrNone = None
    user_id: TextOrNone = None
    trace_name: TextOrNone = None
    tags: tuple[str, ...] | None = None
    """Of the trace; None if they were not read."""
    is_root: Annotated[bool | None, Field(alias="isRootObservation")] = None
    input: Value = None
    output: Value = None
    metadata: Metadata = field(default_factory=dict)
    model: TextOrNone = None
    usage: Annotated[dict[str, float], Field(alias="usageDetails"), BeforeValidator(lambda counts: counts or {})] = (
        field(default_factory=dict)
    )
    cost: Annotated[float | None, Field(alias="totalCost"), AfterValidator(lambda cost: cost or None)] = None


@dataclass(frozen=True, slots=True)
class Queue:
    """An annotation queue."""

    __pydantic_config__ = WIRE

    id: str
    name: str
    description: TextOrNone = None
    score_config_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueItem:
    """What an annotation queue asks humans to look at."""

    __pydantic_config__ = WIRE

    id: str
    object_type: str
    object_id: str
    status: Literal["PENDING", "COMPLETED"] = "PENDING"
    completed: Annotated[datetime | None, Field(alias="completedAt")] = None


def _price(kind: str) -> AliasChoices:
    """Where a model has a price; the second place is deprecated."""
    return AliasChoices(AliasPath("prices", kind, "price"), f"{kind}Price")


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs, according to Langfuse's model table."""

    __pydantic_config__ = WIRE

    model_name: str
    match_pattern: str
    """Regular expression that a model's name matches."""
    input_price: Annotated[float | None, Field(validation_alias=_price("input"))] = None
    """USD per input token."""
    output_price: Annotated[float | None, Field(validation_alias=_price("output"))] = None
    """USD per output token."""
    is_langfuse_managed: bool = False
    """Whether the row is Langfuse's rather than the project's."""
