"""What Langfuse holds, as plain data with its JSON decoded."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from lfexp_mcp.model import OTHERS, Score, ScoreDataType, ScoreMaker

CommentObject = Literal["TRACE", "OBSERVATION", "SESSION", "PROMPT"]
EXPERIMENT_ENVIRONMENT = "sdk-experiment"
"""Environment of the traces that experiments make, the SDK's and ours: not production."""
PromptRole = str
"""Usually `system`, `user` or `assistant`; Langfuse allows any."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset, without its items."""

    id: str
    name: str
    created: datetime
    description: str | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptInfo:
    """A prompt's name and versions, without its text."""

    name: str
    type: Literal["text", "chat"]
    versions: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a chat prompt."""

    role: PromptRole
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt; a text prompt has `text`, a chat prompt `messages`."""

    name: str
    version: int
    type: Literal["text", "chat"]
    text: str | None = None
    messages: tuple[PromptMessage, ...] = ()
    config: dict[str, JsonValue] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """What a project says of a score's values."""

    id: str
    name: str
    data_type: ScoreDataType
    min_value: float | None = None
    max_value: float | None = None
    categories: tuple[tuple[str, float], ...] = ()
    """Label and value of each category."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """The head of a run."""

    id: str
    name: str
    created: datetime
    ended: datetime
    item_count: int
    """Results recorded, repeats of an item included."""
    dataset_id: str | None
    description: str | None = None
    """Often missing here; the items know it reliably."""
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    """Scores of the run as a whole."""


@dataclass(frozen=True, slots=True)
class ExperimentItem:
    """One result of one dataset item in a run."""

    observation_id: str
    trace_id: str
    item_id: str
    experiment_id: str
    started: datetime
    ended: datetime | None
    failed: bool
    input: JsonValue = None
    output: JsonValue = None
    expected_output: JsonValue = None
    item_metadata: dict[str, JsonValue] = field(default_factory=dict)
    description: str | None = None
    """The run's description."""
    scores: tuple[Score, ...] = ()
    """At most 50, and without comments."""


@dataclass(frozen=True, slots=True)
class ScoreEntry:
    """A score with its comment, and what it is a score of."""

    score: Score
    trace_id: str | None = None
    observation_id: str | None = None
    session_id: str | None = None
    experiment_id: str | None = None
    queue_id: str | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """What a human wrote on a trace, observation, session or prompt."""

    id: str
    object_type: CommentObject
    object_id: str
    content: str
    author: str | None
    created: datetime


@dataclass(frozen=True, slots=True)
class Observation:
    """One span, generation or event of a trace."""

    id: str
    trace_id: str
    type: str
    started: datetime
    name: str | None = None
    parent_id: str | None = None
    level: str | None = None
    environment: str | None = None
    session_id: str | None = None
    input: JsonValue = None
    output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    seconds: float | None = None
    model: str | None = None
    usage: dict[str, float] = field(default_factory=dict)
    """Tokens by kind."""
    cost: float | None = None
    """USD; None where Langfuse knows no price."""


@dataclass(frozen=True, slots=True)
class Queue:
    """An annotation queue."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class QueueItem:
    """What an annotation queue asks humans to look at."""

    id: str
    object_type: str
    object_id: str


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs, as Langfuse's model table says."""

    model_name: str
    match_pattern: str
    """Regular expression that a model's name matches."""
    input_price: float | None
    """USD per input token."""
    output_price: float | None
    """USD per output token."""


@dataclass(frozen=True, slots=True)
class ScoreWrite:
    """A score to store, of an observation, a trace or a whole experiment."""

    id: str
    name: str
    value: float | str
    """BOOLEAN as 1 or 0."""
    data_type: ScoreDataType
    trace_id: str | None = None
    observation_id: str | None = None
    experiment_id: str | None = None
    comment: str | None = None
    metadata: dict[str, JsonValue] | None = None
    config_id: str | None = None
    maker: ScoreMaker = OTHERS
    environment: str | None = None
    """None for Langfuse's `default`."""


@dataclass(frozen=True, slots=True)
class ScoreRejection:
    """A score that the server refused."""

    score: ScoreWrite
    message: str
