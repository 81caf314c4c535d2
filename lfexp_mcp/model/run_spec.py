"""What a run was asked to do: its dataset items, and all else that its worker needs to know, without any secret."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lfexp_mcp.model.confirmation import Confirmation
from lfexp_mcp.model.engine import EngineName, EngineOptions
from lfexp_mcp.model.holdout import Holdout
from lfexp_mcp.model.item_choice import DatasetPart
from lfexp_mcp.model.prompts import ResolvedJudge, ResolvedPrompt
from lfexp_mcp.model.scale import Scale
from lfexp_mcp.model.stopping import StoppingRule

RUN_SPEC_FORMAT: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class DatasetItem:
    """One item of a dataset."""

    id: str
    input: JsonValue = None
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    dataset_id: str | None = None
    """None for an item read from a run folder, which does not keep what follows."""
    source_trace_id: str | None = None
    """The trace that the item was made from."""
    updated: datetime | None = None
    created: datetime | None = None


class ExperimentHead(BaseModel):
    """One experiment in Langfuse; a run has one, or one per repetition."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    name: str
    """The run's name; `name#2`, `name#3`, ... from the second repetition on."""


class Limits(BaseModel):
    """How far a run may go, and how long it waits; times in seconds."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    max_concurrency: int = 5
    item_timeout: float | None = None
    run_timeout: float | None = None
    task_retries: int = 0
    fail_on_error: int | float | None = None
    """A count of failed items (int), or their share of all (float below 1), at which the run stops."""
    max_cost: float | None = None
    """USD that the run's judges and prompt task may cost together."""
    delivery_patience: float = 60.0
    """How long the end of a run waits for a Langfuse that does not answer."""
    visibility_delay: float = 10.0
    """How long Langfuse may take to show what it has stored."""
    cancel_grace: float = 10.0
    """How long running items may go on after a cancel or the run's time-out."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep, and which of its variants a run is."""

    name: str
    size: int
    index: int
    """From 0, which the others are ranked against."""


@dataclass(frozen=True, slots=True)
class EvaluatorChoice:
    """A built-in evaluator that scores a run, and its options."""

    name: str
    options: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordingUse:
    """What a run does with a recording of model calls: fill it, or be answered from it."""

    mode: Literal["record", "replay"]
    file: Path
    sha256: str | None = None
    """Of the file that answers a replay."""


class RunSpec(BaseModel):
    """What a run was asked to do."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    format: Literal[1] = RUN_SPEC_FORMAT
    version: str | None = None
    """Of the lfexp-mcp that wrote it; None in those of version 0.1."""
    created: datetime
    project_id: str
    base_url: str
    public_key: str | None = None
    """Identifies the project where Langfuse does not answer; None in a run spec of version 0.1."""
    dataset_id: str
    dataset_name: str
    dataset_version: datetime
    """The items are those that the dataset had then."""
    item_count: int
    """How many items the run has, the first of those in its folder."""
    part: DatasetPart | None = None
    """None for the whole dataset."""
    holdout: str | None = None
    """Digest of the dataset's holdout when the run began, of which it has no item; None if there was none."""
    set_aside: Holdout | None = None
    """A holdout that was declared since: those of the run's items are neither run nor scored any more."""
    dry_run_of: int | None = None
    """Set for a dry run: how many results the whole run would have. Nothing of a dry run is sent."""
    experiments: tuple[ExperimentHead, ...]
    """One per repetition."""
    description: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The user's metadata."""
    variant_of: str | None = None
    """The sweep that the run is a variant of; cancelled by its name."""
    sweep: Sweep | None = None
    """The sweep that it was begun with."""
    confirmation: Confirmation | None = None
    """Set for a run over held-out items."""
    measured: dict[str, str] = Field(default_factory=dict)
    """Of such a run, the code that it is to run and no other, see `Provenance.code`."""
    kept_sources: dict[Path, Path] = Field(default_factory=dict)
    """Of such a run, files of the user's code that have changed since, and where they are kept as they were."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """What the task is given beside the items."""
    task_script: Path | None = None
    task_prompt: ResolvedPrompt | None = None
    """A prompt that is the task, instead of a script."""
    evaluator_script: Path | None = None
    evaluators: tuple[EvaluatorChoice, ...] = ()
    """The built-in ones."""
    score_scales: dict[str, Scale] = Field(default_factory=dict)
    """What score configs state for scores by name: the scale of a script's score that declares none."""
    judges: tuple[ResolvedJudge, ...] = ()
    warnings: tuple[str, ...] = ()
    """What was seen before the run that the user should know."""
    python: Path | None = None
    """The interpreter that was asked for; None for the setting's."""
    working_folder: Path
    """Where the task runs: the folder that its caller works in."""
    limits: Limits = Field(default_factory=Limits)
    engine: EngineName = "local"
    """Where the scripts' functions are called."""
    engine_options: EngineOptions = Field(default_factory=EngineOptions)
    stopping: StoppingRule | None = None
    """None for a run that does not stop early."""
    batch: bool = False
    """Whether judges are asked by the providers' batch endpoints."""
    recording: RecordingUse | None = None
    """None for a run whose calls to models are neither recorded nor replayed."""

    @property
    def is_replay(self) -> bool:
        """Whether the run's models are answered from a recording."""
        return self.recording is not None and self.recording.mode == "replay"

    def open_items(self, items: Iterable[DatasetItem]) -> Iterator[DatasetItem]:
        """Yield those of the run's items that are not set aside."""
        return (item for item in items if self.set_aside is None or not self.set_aside.holds(item.id, item.metadata))

    @property
    def run_name(self) -> str:
        """The name of the run, which is that of its first repetition."""
        return self.experiments[0].name

    @property
    def repeats(self) -> int:
        """How often each item is run."""
        return len(self.experiments)

    @property
    def judged_scores(self) -> tuple[str, ...]:
        """Names of the judges' scores."""
        return tuple(judge.score_name for judge in self.judges)

    @property
    def prompts(self) -> tuple[ResolvedPrompt, ...]:
        """Its judges, and its task if that is a prompt."""
        return self.judges if self.task_prompt is None else (*self.judges, self.task_prompt)

    @property
    def models(self) -> list[str]:
        """The models that judges and a prompt task call."""
        return models_of(self.judges, self.task_prompt)

    @property
    def total_items(self) -> int:
        """Results that the whole run has in the end, repetitions included."""
        return self.item_count * self.repeats


def models_of(judges: Iterable[ResolvedJudge], task_prompt: ResolvedPrompt | None) -> list[str]:
    """Return the models that judges and a prompt task call."""
    models = [judge.model for judge in judges]
    return [*models, task_prompt.model] if task_prompt is not None else models
