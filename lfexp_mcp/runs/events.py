"""What can happen in a run, each a line of its journal."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import EvaluatorFailure, ModelCaller, ModelUsage, Provenance, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    at: datetime = field(default_factory=CLOCK.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged(_Event):
    """Stands where a reader found what is no whole record; never written."""

    event: Literal["damaged"] = "damaged"
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoading(_Event):
    """A worker has taken the order and loads the user's code, after which it accepts or refuses."""

    event: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAccepted(_Event):
    """A worker has checked the order and begins."""

    event: Literal["accepted"] = "accepted"
    pid: int
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemStarted(_Event):
    """An item's task begins; without an `ended` it was at work when its process died."""

    event: Literal["started"] = "started"
    item_id: str
    repeat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEnded(_Event):
    """An item's task has ended, and its spans are in the outbox."""

    event: Literal["ended"] = "ended"
    item_id: str
    repeat: int = 0
    status: Literal["succeeded", "failed"]
    output: JsonValue = None
    error: str | None = None
    attempts: int = 1
    """How often the task was called, retries included."""
    task_version: str | None = None
    """Tells the code or prompt that made this result from an edited one; None where that is not known."""
    trace_id: str
    root_id: str
    """Span `experiment-item-run`, the parent of the evaluation."""
    observation_id: str
    """Span `experiment-item-task`, which the scores attach to."""
    started: datetime
    """When the last call of the task began."""
    seconds: float
    """How long it took, without the time that it waited for a thread, for the runner, or for its turn at a provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScored(_Event):
    """All evaluators and judges of an item have ended."""

    event: Literal["scored"] = "scored"
    item_id: str
    repeat: int = 0
    evaluators: tuple[str, ...] | None = None
    """Names of all that have scored the item, or tried to; None where that is not known."""
    scores: tuple[Score, ...] = ()
    unscored: tuple[EvaluatorFailure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScored(_Event):
    """The evaluators of a whole repetition have ended."""

    event: Literal["run_scored"] = "run_scored"
    repeat: int = 0
    scores: tuple[Score, ...] = ()
    unscored: tuple[EvaluatorFailure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRecorded(_Event):
    """The status of the run is to be written to Langfuse, replacing the one before."""

    event: Literal["marked"] = "marked"
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresStored(_Event):
    """Langfuse acknowledged these scores."""

    event: Literal["stored"] = "stored"
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresMissing(_Event):
    """Langfuse acknowledged these scores and does not show them: they are sent again."""

    event: Literal["missing"] = "missing"
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRefused(_Event):
    """Langfuse refused a score or a span as wrong; it is kept here or in the outbox, and sent again by a resume."""

    event: Literal["refused"] = "refused"
    kind: Literal["score", "span"]
    id: str
    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(_Event):
    """Something that the user should know."""

    event: Literal["warned"] = "warned"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed(_Event):
    """All items have been run and scored, and the run as a whole; what is left is to be acknowledged by Langfuse."""

    event: Literal["executed"] = "executed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsCalled(_Event):
    """A judge, or a task that is a prompt, has called its model; what that used since the last such event."""

    event: Literal["models_called"] = "models_called"
    user: ModelCaller
    usage: ModelUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRetried(_Event):
    """Calls to a provider failed and were made again; how often since the last such event of it."""

    event: Literal["provider_retried"] = "provider_retried"
    provider: str
    retries: int
    rate_limited: int
    """Those of them that the provider had turned away because of a rate limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Event):
    """The worker is done, in one way or another."""

    event: Literal["run_ended"] = "run_ended"
    status: Literal["completed", "failed", "cancelled"]
    cause: Literal["undelivered"] | None = None
    """Set when all that is missing is Langfuse's acknowledgement."""
    reason: str | None = None
    """A sentence for the user; None for a completed run."""


Event = Annotated[
    WorkerLoading
    | WorkerAccepted
    | ItemStarted
    | ItemEnded
    | ItemScored
    | RunScored
    | StatusRecorded
    | ScoresStored
    | ScoresMissing
    | WriteRefused
    | Warned
    | ModelsCalled
    | ProviderRetried
    | Executed
    | RunEnded
    | Damaged,
    Field(discriminator="event"),
]
