"""The events of a run, each a line of its journal."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import EvaluatorFailure, Look, ModelCaller, ModelUsage, Provenance, ProviderName, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    at: datetime = field(default_factory=CLOCK.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged(_Event):
    """What a reader yields for a damaged record; never written."""

    event: Literal["damaged"] = "damaged"
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoading(_Event):
    """A worker has taken its command and loads the user's code, after which it accepts or refuses."""

    event: Literal["loading"] = "loading"
    scores_only: bool = False
    """Whether it scores existing results, and calls no task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAccepted(_Event):
    """A worker has loaded everything and begins."""

    event: Literal["accepted"] = "accepted"
    pid: int
    provenance: Provenance = field(default_factory=Provenance)
    to_score: int = 0
    """Results that a worker that only scores is to score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemStarted(_Event):
    """An item's task begins. Without an `ended`, it was running when its process died."""

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
    """Identifies the code or prompt that made this result; None where it is not known."""
    trace_id: str
    root_id: str
    """Span `experiment-item-run`, the parent of the evaluation."""
    observation_id: str
    """Span `experiment-item-task`, which the scores attach to."""
    started: datetime
    """When the last call of the task began."""
    seconds: float | None
    """How long it took, without waiting for a thread, the runner, or a rate-limited provider; None where Langfuse, from
    which a result of another machine is read, does not tell."""


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
    again: tuple[str, ...] = ()
    """Functions of scripts that have scored the item again, or tried to, as `function@sha256`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScored(_Event):
    """The evaluators of a whole repetition have ended."""

    event: Literal["run_scored"] = "run_scored"
    repeat: int = 0
    scores: tuple[Score, ...] = ()
    unscored: tuple[EvaluatorFailure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LookTaken(_Event):
    """The stopping rule has looked at the first items; if it has a verdict, the run stops next."""

    event: Literal["look"] = "look"
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRecorded(_Event):
    """The status of the run, or of a scoring of it, is to be written to Langfuse, replacing the one before."""

    event: Literal["marked"] = "marked"
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresStored(_Event):
    """Langfuse acknowledged these scores."""

    event: Literal["stored"] = "stored"
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresMissing(_Event):
    """Langfuse acknowledged these scores but does not show them, so they are sent again."""

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
    """All items, and the run as a whole, are executed and scored; Langfuse has yet to acknowledge the rest."""

    event: Literal["executed"] = "executed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsCalled(_Event):
    """What a judge or prompt task has used of its model since its last such event."""

    event: Literal["models_called"] = "models_called"
    user: ModelCaller
    usage: ModelUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRetried(_Event):
    """How often calls to a provider were retried since its last such event."""

    event: Literal["provider_retried"] = "provider_retried"
    provider: str
    retries: int
    rate_limited: int
    """Those of them that followed a rate limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecorded(_Event):
    """How far a batch of questions to a judge's model has come; each of its events replaces the one before."""

    event: Literal["batch"] = "batch"
    tag: str
    """Our name of it, which the files of its requests and results have too."""
    provider: ProviderName
    model: str
    requests: int
    status: Literal["planned", "submitted", "ended", "used"]
    """In order: it may or may not have been submitted; its id is known; its results are here; its answers are verdicts
    now, so that what is still unscored may be asked again."""
    planned: datetime
    """When it was to be submitted."""
    without: tuple[str, ...] = ()
    """What its requests leave out, since the model refuses it."""
    batch_id: str | None = None
    is_certain: bool = True
    """Whether `batch_id` is known to be this batch, rather than one of as many requests."""
    not_ours: tuple[str, ...] = ()
    """Batches that turned out to be others."""
    done: int = 0
    """Requests that are settled, as far as the provider tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Event):
    """The worker is done: the run has ended, or, of a worker that only scores, the scoring."""

    event: Literal["run_ended"] = "run_ended"
    status: Literal["completed", "stopped", "failed", "cancelled"]
    cause: Literal["undelivered"] | None = None
    """Set where only Langfuse's acknowledgement is missing."""
    delivered: bool = False
    """Whether Langfuse had acknowledged everything by then; a run that is completed always has that."""
    reason: str | None = None
    """A sentence for the user; None for a completed run."""


Event = Annotated[
    WorkerLoading
    | WorkerAccepted
    | ItemStarted
    | ItemEnded
    | ItemScored
    | RunScored
    | LookTaken
    | StatusRecorded
    | ScoresStored
    | ScoresMissing
    | WriteRefused
    | Warned
    | ModelsCalled
    | ProviderRetried
    | BatchRecorded
    | Executed
    | RunEnded
    | Damaged,
    Field(discriminator="event"),
]
