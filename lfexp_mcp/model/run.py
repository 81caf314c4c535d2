"""A run as it is read: its items, their outputs and their scores.

Made by `runs` from the journal on disk and by `gateway` from Langfuse, and read by everything that reports on a run.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from lfexp_mcp.model.maker import JudgeMaker, RunMaker
from lfexp_mcp.model.score import EvaluatorFailure, Score
from lfexp_mcp.model.usage import ModelCaller, ModelUsage

ItemStatus = Literal["succeeded", "failed", "pending"]
EndStatus = Literal["completed", "failed", "cancelled"]
RunStatus = Literal["running", "completed", "failed", "cancelled", "unknown"]
"""`unknown`: of a run of another machine nobody knows whether it is running or has died; of a run of others, whether it
is whole."""


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
    unscored: tuple[EvaluatorFailure, ...] = ()
    repeat: int = 0
    """Which repetition of the run this is of, from 0."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run was begun to do, as every machine can read it."""

    items: int
    """Dataset items that it was to run."""
    repeats: int = 1
    scores: tuple[str, ...] = ()
    """Names of the scores that every good result is to have: those of the judges, since a script names its scores only
    when it gives them."""
    makers: tuple[RunMaker, ...] = ()
    """What scores it, as known at its beginning: the judges in the order of `scores`, then the scripts' functions."""
    part: str | None = None
    """Which part of the dataset was chosen; None for the whole of it."""

    @property
    def judges(self) -> dict[str, JudgeMaker]:
        """The judges, by the names of their scores."""
        judges = (maker for maker in self.makers if isinstance(maker, JudgeMaker))
        return dict(zip(self.scores, judges, strict=False))

    @property
    def results(self) -> int:
        """Results that the whole run has in the end."""
        return self.items * self.repeats


@dataclass(frozen=True, slots=True)
class MissingScores:
    """The results that one evaluator or judge failed to score."""

    count: int
    results: tuple[tuple[int, str], ...] = ()
    """Repetition and item id of each; not of all where they are very many."""


@dataclass(frozen=True, slots=True)
class RunMark:
    """How a run stands or ended, as its newest worker left it in Langfuse for every machine to read."""

    status: Literal["running", "completed", "failed", "cancelled"]
    at: datetime
    plan: RunPlan
    succeeded: int = 0
    failed: int = 0
    unscored: dict[str, MissingScores] = field(default_factory=dict)
    """By the score's name, or the evaluator's where the score's is not known."""
    makers: tuple[RunMaker, ...] = ()
    """Of all scores that the run has."""
    reason: str | None = None
    """Why it ended before its end."""


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
    """How many results the run is to have, those still pending included; what it has where `plan` is None."""
    description: str | None = None
    created: datetime | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    """The user's metadata, decoded."""
    provenance: dict[str, JsonValue] = field(default_factory=dict)
    """What the runner recorded under the metadata key `lfexp`; empty for runs of others."""
    run_scores: tuple[Score, ...] = ()
    model_usage: dict[ModelCaller, ModelUsage] = field(default_factory=dict)
    """What judges and prompt tasks used; not what a script's own code did. Known for runs made on this machine."""
    warnings: tuple[str, ...] = ()
    plan: RunPlan | None = None
    """None where nobody knows it, as of runs that others made."""
