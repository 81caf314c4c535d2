"""A run as it is read: its items, their outputs and their scores.

Made by `runs` from the journal on disk and by `gateway` from Langfuse, and read by everything that reports on a run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Literal, Protocol

from pydantic import JsonValue

from lfexp_mcp.model.provenance import FileVersion, Provenance, RunPlan
from lfexp_mcp.model.score import EvaluatorFailure, Score
from lfexp_mcp.model.stopping import Look
from lfexp_mcp.model.usage import ModelCaller, ModelUsage

ItemStatus = Literal["succeeded", "failed", "pending"]
EndStatus = Literal["completed", "stopped", "failed", "cancelled"]
"""`stopped`: by its stopping rule, with items left."""
RunStatus = Literal["running", "completed", "stopped", "failed", "cancelled", "unknown"]
"""`unknown`: a run of another machine may be running or have died, or a run made by others may be incomplete."""
ResultKey = tuple[str, int]
"""Dataset item and repetition of a result."""


class ContentSource(Protocol):
    """What may be large of a result: a `Content`, or what reads it from a disk."""

    @property
    def input(self) -> JsonValue:
        """What the task got."""
        ...

    @property
    def output(self) -> JsonValue:
        """What it returned."""
        ...

    @property
    def expected_output(self) -> JsonValue:
        """The dataset item's."""
        ...

    @property
    def metadata(self) -> dict[str, JsonValue]:
        """The dataset item's."""
        ...

    @property
    def item_digest(self) -> bytes | None:
        """Of what is stored of the dataset item; None where only the item itself tells whether it equals another."""
        ...


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a result, in memory."""

    input: JsonValue = None
    output: JsonValue = None
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def item_digest(self) -> None:
        """See `ContentSource.item_digest`."""
        return None


@dataclass(frozen=True)
class ItemResult:
    """The result of one dataset item in one run.

    Its content may lie on disk, from which each look at `input`, `output`, `expected_output` and `metadata` reads it;
    it raises a StateError if the content is not there any more. Subclasses decide how the attributes are held.
    """

    __slots__ = ()

    item_id: str
    status: ItemStatus
    content: ContentSource = field(default_factory=Content)
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
    """Which repetition of the run it belongs to, from 0."""

    def __new__(cls, *_: object, **__: object) -> "ItemResult":  # noqa: PYI034 - a subclass
        """Create one that holds its attributes as they are, unless a subclass is asked for."""
        return object.__new__(_PlainResult if cls is ItemResult else cls)

    @property
    def key(self) -> ResultKey:
        """What tells it from the other results of its run."""
        return self.item_id, self.repeat

    @property
    def input(self) -> JsonValue:
        """What the task got."""
        return self.content.input

    @property
    def output(self) -> JsonValue:
        """What it returned."""
        return self.content.output

    @property
    def expected_output(self) -> JsonValue:
        """The dataset item's."""
        return self.content.expected_output

    @property
    def metadata(self) -> dict[str, JsonValue]:
        """The dataset item's metadata."""
        return self.content.metadata

    @property
    def bare_scores(self) -> tuple[Score, ...]:
        """The scores, perhaps without ids, comments, times and what they are of: those of many results take no room."""
        return self.scores


class _PlainResult(ItemResult):
    __slots__ = tuple(each.name for each in fields(ItemResult))


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
    """Results that the complete run has; the results so far if `plan` is None."""
    description: str | None = None
    created: datetime | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    """The user's metadata, decoded."""
    provenance: Provenance | None = None
    """None for runs of others."""
    run_scores: tuple[Score, ...] = ()
    model_usage: dict[ModelCaller, ModelUsage] = field(default_factory=dict)
    """What judges and prompt tasks used, without the user's own code. Known for runs of this machine."""
    warnings: tuple[str, ...] = ()
    plan: RunPlan | None = None
    """None where it is not known, as for runs made by others."""
    scoring: RunStatus | None = None
    """The status of the newest scoring of it, by `score_run`; None if there was none since it ran."""
    leaves_out: bool = False
    """Whether it went over items that are held out, which are left out with all that is known of the whole only."""
    older_scores: frozenset[str] = frozenset()
    """Names of scores that are named with their makers, since newer ones have the plain name."""
    looks: tuple[Look, ...] = ()
    """Those that its stopping rule has taken, as far as they are known; only the last may have a verdict."""
    is_dry: bool = False
    """Whether nothing of it is stored, so that it cannot be resumed."""

    @property
    def replayed(self) -> FileVersion | None:
        """The recording from which its models were answered; None for a run that was measured."""
        return self.provenance.replayed if self.provenance is not None else None

    @property
    def is_replayed(self) -> bool:
        """Whether its models were answered from a recording."""
        return self.replayed is not None

    def without_measures(self) -> "RunRecord":
        """Return a replayed run without its times and what its models used, which are those of the replay."""
        if not self.is_replayed:
            return self
        items = tuple(replace(item, seconds=None) for item in self.items)
        return replace(self, items=items, model_usage={})

    @property
    def part_shown(self) -> str | None:
        """See `RunPlan.part_shown`."""
        return self.plan.part_shown if self.plan is not None else None

    @property
    def scores(self) -> Iterator[Score]:
        """The scores of all items."""
        return (score for item in self.items for score in item.scores)

    @property
    def bare_scores(self) -> Iterator[Score]:
        """Those of all items, see `ItemResult.bare_scores`."""
        return (score for item in self.items for score in item.bare_scores)

    def with_warning(self, warning: str) -> "RunRecord":
        """Return the run with one more warning."""
        return replace(self, warnings=(*self.warnings, warning))
