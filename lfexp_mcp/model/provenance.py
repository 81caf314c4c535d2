"""What a run leaves of itself in Langfuse: its provenance and plan in its metadata, its status as a score."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from lfexp_mcp.model.confirmation import Confirmation
from lfexp_mcp.model.item_choice import DatasetPart
from lfexp_mcp.model.maker import EvaluatorInfo, JudgeMaker, RunMaker, ScriptMaker
from lfexp_mcp.model.run_spec import RunSpec, Sweep
from lfexp_mcp.model.scale import Scale
from lfexp_mcp.model.stopping import Look, StoppingRule

PROVENANCE_KEY = "lfexp"
"""Where the provenance is in the metadata of an experiment."""
FAMILY_KEY = "lfexp_family"
"""Where in the metadata of an experiment its maker declared, before it began, which candidates it belongs with."""
SOURCE_KEY = "lfexp_source"
"""Key in the metadata of a dataset item that says what the item was collected from."""
MAX_REPEATS = 1000
"""Anybody can write a run's metadata: a larger number is not believed."""


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
    part: DatasetPart | None = None
    """None for the whole dataset."""
    stopping: StoppingRule | None = None
    """None for a run that does not stop early."""
    holdout: str | None = None
    """Digest of the dataset's holdout when the run began, of which it has no item; None if there was none."""

    @classmethod
    def of(cls, run_spec: RunSpec, makers: tuple[RunMaker, ...] = ()) -> "RunPlan":
        """Return the plan of a run, scored by these makers."""
        return cls(
            items=run_spec.item_count,
            repeats=run_spec.repeats,
            scores=run_spec.judged_scores,
            makers=makers,
            part=run_spec.part,
            stopping=run_spec.stopping,
            holdout=run_spec.holdout,
        )

    @property
    def judges(self) -> dict[str, JudgeMaker]:
        """The judges, by the names of their scores."""
        judges = (maker for maker in self.makers if isinstance(maker, JudgeMaker))
        return dict(zip(self.scores, judges, strict=False))

    @property
    def results(self) -> int:
        """Results that the whole run has in the end."""
        return self.items * self.repeats

    @property
    def part_shown(self) -> str | None:
        """The part for a reader, such as `20 of 400 items: a sample`; None for the whole dataset."""
        return f"{self.items} of {self.part.of} items: {self.part.choice}" if self.part is not None else None


@dataclass(frozen=True, slots=True)
class MissingScores:
    """The results that one evaluator or judge failed to score."""

    count: int
    results: tuple[tuple[int, str], ...] = ()
    """Repetition and item id of each; not of all where they are very many."""


@dataclass(frozen=True, slots=True)
class RecordedStatus:
    """The status of a run as its newest worker left it in Langfuse for every machine to read."""

    status: Literal["running", "completed", "stopped", "failed", "cancelled"]
    at: datetime
    plan: RunPlan
    succeeded: int = 0
    failed: int = 0
    unscored: dict[str, MissingScores] = field(default_factory=dict)
    """By the score's name, or the evaluator's where the score's is not known."""
    makers: tuple[RunMaker, ...] = ()
    """Of all scores that the run has."""
    reason: str | None = None
    """Why it ended early."""
    looks: tuple[Look, ...] = ()
    """Those that its stopping rule has taken."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file that a run used: a script of the user's, or the recording that answered its calls to models."""

    file: str
    """Its name, without the folder."""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TaskPromptVersion:
    """The prompt that was the task."""

    name: str
    version: int
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class EngineUse:
    """Where a run's scripts were called, if not in its worker's process."""

    name: str
    version: str | None = None
    resources: dict[str, float] = field(default_factory=dict)
    """What each item took; empty where items shared processes."""


@dataclass(frozen=True, slots=True)
class GitState:
    """The work tree that the task's script lies in."""

    commit: str
    dirty: bool | None = None
    """Whether tracked files differ from the commit; None where git did not tell."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Which repetition of a run an experiment is."""

    count: Annotated[int, Field(ge=1, le=MAX_REPEATS)]
    index: int = 0
    group: str = ""
    """The run's name."""


@dataclass(frozen=True, slots=True)
class RecordedLimits:
    """Those of a run's limits that change its results."""

    item_timeout: float | None = None
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class LegacyScale(Scale):
    """The scale of a judge's score, which version 0.1 recorded with the run."""

    source: str | None = None
    prompt: str | None = None
    """The judge's."""

    @property
    def scale(self) -> Scale:
        """The scale alone."""
        return Scale(self.low, self.high, self.lower_is_better, self.kind, self.categories)


def _or_none(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    try:
        return validate(value)
    except ValidationError:
        return None


_Lenient = WrapValidator(_or_none)
"""Anybody can write a run's metadata: what is not ours is left out, and the rest is read."""


def _known_evaluators(value: object) -> list[EvaluatorInfo]:
    entries = value if isinstance(value, list | tuple) else ()
    return [entry for entry in map(_EVALUATOR.validate_python, entries) if entry is not None]


def _known_scales(value: object) -> dict[str, LegacyScale] | None:
    if not isinstance(value, Mapping):
        return None
    scales = {name: _LEGACY_SCALE.validate_python(entry) for name, entry in value.items()}
    return {name: scale for name, scale in scales.items() if scale is not None}


# Built on first use, so that a server that only lists its tools builds none.
_DEFERRED = ConfigDict(defer_build=True)
_EVALUATOR: TypeAdapter[EvaluatorInfo | None] = TypeAdapter(Annotated[EvaluatorInfo | None, _Lenient], config=_DEFERRED)
_LEGACY_SCALE: TypeAdapter[LegacyScale | None] = TypeAdapter(Annotated[LegacyScale | None, _Lenient], config=_DEFERRED)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a run was made of: code, dataset, judges, packages.

    Langfuse keeps it as JSON text under `PROVENANCE_KEY`, in the metadata of each experiment of the run. Reading never
    fails: a field that is missing or was not written by lfexp-mcp has its default.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _DEFERRED

    version: Annotated[str | None, _Lenient] = None
    """Of lfexp-mcp."""
    dataset_version: Annotated[str | None, _Lenient] = None
    """The time of the newest change to the dataset's items, in ISO 8601."""
    evaluators: Annotated[tuple[EvaluatorInfo, ...], BeforeValidator(_known_evaluators)] = ()
    packages: Annotated[dict[str, str] | None, _Lenient] = None
    """Versions, of Python too."""
    limits: Annotated[RecordedLimits | None, _Lenient] = None
    description: Annotated[str | None, _Lenient] = None
    task: Annotated[FileVersion | TaskPromptVersion | None, _Lenient] = None
    params: Annotated[dict[str, JsonValue] | None, _Lenient] = None
    """What the task was given beside the items; None for nothing."""
    evaluator_script: Annotated[FileVersion | None, _Lenient] = None
    modules: Annotated[dict[str, str] | None, _Lenient] = None
    """Versions of the user's own modules that the scripts imported; see `module_versions`. None if not recorded."""
    confirmation: Annotated[Confirmation | None, _Lenient] = None
    """Set for a run over held-out items."""
    git: Annotated[GitState | None, _Lenient] = None
    plan: Annotated[RunPlan | None, _Lenient] = None
    """None for runs of version 0.1."""
    repeats: Annotated[Repeats | None, _Lenient] = None
    sweep: Annotated[Sweep | None, _Lenient] = None
    engine: Annotated[EngineUse | None, _Lenient] = None
    """None for a run whose scripts were called by its worker."""
    replayed: Annotated[FileVersion | None, _Lenient] = None
    """Set for a run whose models were answered from a recording: it measured code, and neither models nor times."""
    scales: Annotated[dict[str, LegacyScale] | None, BeforeValidator(_known_scales)] = None
    """By the score's name; only of runs of version 0.1."""

    @classmethod
    def of(cls, metadata: Mapping[str, JsonValue]) -> "Provenance | None":
        """Read the provenance from an experiment's metadata.

        Args:
            metadata: As Langfuse returns it, which may have encoded a value once more than it was given.

        Returns:
            None for a run that lfexp-mcp did not make.
        """
        value = metadata.get(PROVENANCE_KEY)
        while isinstance(value, str):
            try:
                decoded = json.loads(value)
            except (ValueError, RecursionError):
                return None
            value = decoded if decoded != value else None
        return _PROVENANCE.validate_python(value) if isinstance(value, dict) and value else None

    @property
    def task_version(self) -> str | None:
        """Tells the task from an edited one: the beginning of its script's hash, or its prompt's version and model."""
        match self.task:
            case FileVersion(sha256=str(digest)):
                return digest[:12]
            case TaskPromptVersion(name, version, _, model):
                return f"{name}:{version} ({model})"
        return None

    @property
    def code(self) -> dict[str, str]:
        """What is known of the code that ran, by what it is of; empty where the task is not known.

        Files that the code reads, the environment, and modules that it imports only when it is called are not covered.
        """
        match self.task:
            case FileVersion(sha256=str(digest)):
                code = {"task script": digest}
            case TaskPromptVersion(name, version, provider, model):
                code = {"task prompt": f"{name}:{version} {provider} {model}"}
            case _:
                return {}
        if self.params:
            code["params"] = json.dumps(self.params, sort_keys=True)
        if self.evaluator_script is not None and self.evaluator_script.sha256 is not None:
            code["evaluator script"] = self.evaluator_script.sha256
        modules = (self.modules or {}).items()
        return code | {f"module {name}" if name else "modules": version for name, version in modules}

    @property
    def script_maker(self) -> ScriptMaker:
        """The evaluator script as the maker of scores, without the function that gave one."""
        script = self.evaluator_script
        return ScriptMaker(file=script.file, sha256=script.sha256) if script else ScriptMaker()

    @property
    def repeat_count(self) -> int:
        """How many repetitions the run has."""
        return self.repeats.count if self.repeats else 1

    @property
    def is_repetition(self) -> bool:
        """Whether this is of a further repetition of a run, for which the first stands."""
        return self.repeats is not None and self.repeats.index > 0

    def experiment_metadata(self, run_spec: RunSpec, repeat: int) -> dict[str, JsonValue]:
        """Return the metadata of the experiment of one repetition: the user's, and the provenance as JSON text."""
        own = self
        if run_spec.repeats > 1:
            own = replace(self, repeats=Repeats(run_spec.repeats, repeat, run_spec.run_name))
        return {**run_spec.metadata, PROVENANCE_KEY: own.as_json()}

    def as_json(self) -> str:
        """Return the text that Langfuse keeps."""
        return _PROVENANCE.dump_json(self, exclude_none=True).decode()


_PROVENANCE: TypeAdapter[Provenance] = TypeAdapter(Provenance)
