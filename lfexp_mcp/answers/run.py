"""A run: what `run_experiment`, `get_run`, `cancel_run` and `list_runs` answer."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from lfexp_mcp.answers.base import Answer, Backend, NextStep
from lfexp_mcp.records import ItemStatus, RunStatus, ScoreDataType, ScoreSource


class ScoreSummary(Answer):
    """One score over all items of a run."""

    name: str
    data_type: ScoreDataType
    mean: float | None = Field(
        description="Over the scored items, on the canonical 0-1 scale; the share of true for BOOLEAN; null when "
        "nothing was scored, or for categories without values."
    )
    display: str = Field(description="The mean for a reader, such as `0.82 (8.2/10)`.")
    count: int = Field(description="Items scored.")
    unscored: int = Field(description="Items whose evaluator or judge failed: not counted as zero.")
    min: float | None
    max: float | None
    scale: str | None = Field(description="The scale the values came on, such as `0-10`; null for categories and text.")
    scale_source: str | None = Field(description="Where the scale was found.")
    clamped: int = Field(default=0, description="Values outside their scale, moved to its end.")
    categories: dict[str, int] | None = Field(default=None, description="Counts per category.")


class ItemError(Answer):
    """An item whose task, evaluator or judge failed."""

    item_id: str
    error: str


class EvaluatorInfo(Answer):
    """An evaluator or judge that scores the run."""

    name: str
    kind: Literal["judge", "script", "run"]
    version: int | None = Field(default=None, description="Version of the judge's prompt.")
    model: str | None = Field(default=None, description="The judge's model.")
    scale: str | None = None
    scale_source: str | None = None


class Progress(Answer):
    """How far a run at work has come."""

    done: int = Field(description="Items whose task has ended, well or not.")
    total: int
    failed: int
    items_per_second: float | None
    seconds_left: float | None


class RunAnswer(Answer):
    """A run and its scores."""

    status: RunStatus
    backend: Backend
    dataset: str
    run_name: str
    experiment_id: str
    experiment_url: str | None
    description: str | None = None
    total_items: int
    succeeded: int
    failed: int = Field(description="Items whose task raised or timed out.")
    pending: int = Field(description="Items not run yet.")
    undelivered: int = Field(
        default=0, description="Scores and spans kept on disk that Langfuse has not acknowledged yet."
    )
    progress: Progress | None = Field(default=None, description="Set while the run is at work.")
    scores: list[ScoreSummary]
    run_scores: dict[str, float | bool | str] = Field(default_factory=dict, description="Scores of the whole run.")
    evaluators: list[EvaluatorInfo]
    errors: list[ItemError] = Field(description="A few of the failures.")
    warnings: list[str]
    log: str | None = Field(default=None, description="File with what the user's code printed.")
    next: list[NextStep]


class ItemScore(Answer):
    """One score of one item."""

    name: str
    value: float | bool | str | None = Field(description="Canonical value; null where the evaluator or judge failed.")
    comment: str | None = Field(default=None, description="The judge's or human's reason.")
    error: str | None = Field(default=None, description="Why there is no value.")
    raw: float | None = Field(default=None, description="The value on the judge's own scale, where it differs.")
    source: ScoreSource = "API"


class ItemAnswer(Answer):
    """One item of a run."""

    item_id: str
    status: ItemStatus
    input: JsonValue
    output: JsonValue
    expected_output: JsonValue
    error: str | None = None
    scores: list[ItemScore]
    trace_id: str | None
    seconds: float | None = None
    repeat: int | None = Field(default=None, description="Which repetition, from 0; null for a run without repeats.")


class RunDetail(RunAnswer):
    """A run, with a page of its items."""

    items: list[ItemAnswer]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last.")


class RunListEntry(Answer):
    """One run in a list."""

    name: str
    created: datetime
    description: str | None
    items: int = Field(description="Results recorded, repeats of an item included.")
    metadata: dict[str, JsonValue]
    status: RunStatus | None = Field(default=None, description="Known for runs made on this machine.")


class RunList(Answer):
    """The runs of a dataset, newest first."""

    backend: Backend
    dataset: str
    runs: list[RunListEntry]
    next_cursor: str | None
    next: list[NextStep]
