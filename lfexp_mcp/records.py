"""A run as it is read: its items, their outputs and their scores.

Plain data, made by `runs` from the journal on disk and by `gateway` from Langfuse, and read by everything that reports
on a run.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from lfexp_mcp.makers import OTHERS, HumanMaker, ScoreMaker

ScoreDataType = Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT"]
ScoreSource = Literal["API", "EVAL", "ANNOTATION"]
ItemStatus = Literal["succeeded", "failed", "pending"]
RunStatus = Literal["running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Score:
    """One score of one item, or of a whole run."""

    id: str
    name: str
    value: float | bool | str
    """As Langfuse stores it: a judge's number on the canonical 0-1 scale, a BOOLEAN as bool, a category as text."""
    data_type: ScoreDataType
    comment: str | None = None
    """The judge's or human's reason; None where it was not read, since Langfuse leaves it out of items."""
    source: ScoreSource = "API"
    raw: float | None = None
    """What the judge said on its own scale, where that differs from `value`."""
    clamped: bool = False
    """Whether `raw` lay outside its scale and `value` is the end next to it: so earlier versions scored it."""
    config_id: str | None = None
    author: str | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    timestamp: datetime | None = None
    maker: ScoreMaker = OTHERS

    def __post_init__(self) -> None:
        if self.source == "ANNOTATION":
            object.__setattr__(self, "maker", HumanMaker(self.author, self.config_id))


@dataclass(frozen=True, slots=True)
class Unscored:
    """A score that is missing because its evaluator or judge failed: neither zero nor nothing."""

    name: str
    """The score's name, or the evaluator's where the score's is not known."""
    error: str


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What one run made of one dataset item."""

    item_id: str
    status: ItemStatus
    input: JsonValue = None
    output: JsonValue = None
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    """The dataset item's metadata."""
    error: str | None = None
    """Why the task failed; None for an item that succeeded."""
    trace_id: str | None = None
    observation_id: str | None = None
    """The span `experiment-item-task`, which the scores attach to."""
    started: datetime | None = None
    seconds: float | None = None
    """How long the task took."""
    scores: tuple[Score, ...] = ()
    unscored: tuple[Unscored, ...] = ()
    repeat: int = 0
    """Which repetition of the run this is of, from 0."""


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What calls to one model used."""

    calls: int = 0
    """HTTP requests made, those that failed included."""
    retries: int = 0
    """Those of them that repeated one that had failed."""
    asked_again: int = 0
    """Those of them that asked once more because an answer could not be used."""
    unmetered: int = 0
    """Answers whose tokens the provider did not tell."""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """Time of the calls that were answered, added up."""

    def __add__(self, other: "ModelUsage") -> "ModelUsage":
        return ModelUsage(
            self.calls + other.calls,
            self.retries + other.retries,
            self.asked_again + other.asked_again,
            self.unmetered + other.unmetered,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class ModelUser:
    """A judge, or a task that is a prompt, and the model it calls."""

    name: str
    """The judge's score, or the task's prompt."""
    model: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a dataset: its head, and one result per dataset item (per repetition)."""

    dataset: str
    dataset_id: str
    run_name: str
    experiment_ids: tuple[str, ...]
    """One id, or one per repetition."""
    status: RunStatus
    items: tuple[ItemResult, ...]
    total_items: int
    """How many items the run has, those still pending included (times repetitions)."""
    description: str | None = None
    created: datetime | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    """The user's metadata, decoded."""
    provenance: dict[str, JsonValue] = field(default_factory=dict)
    """What the runner recorded under the metadata key `lfexp`; empty for runs of others."""
    run_scores: tuple[Score, ...] = ()
    model_usage: dict[ModelUser, ModelUsage] = field(default_factory=dict)
    """What judges and prompt tasks used; not what a script's own code did. Known for runs made on this machine."""
    warnings: tuple[str, ...] = ()
