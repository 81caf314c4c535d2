"""What a run was asked to do: all that its worker needs to know, without any secret."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lfexp_mcp import __version__
from lfexp_mcp.model import Scale
from lfexp_mcp.runs.framing import frame, unframe

RUN_SPEC_FORMAT: Literal[1] = 1


class ExperimentHead(BaseModel):
    """One experiment in Langfuse; a run has one, or one per repetition."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    """The run's name; `name#2`, `name#3`, ... from the second repetition on."""


class RunItem(BaseModel):
    """One dataset item as the run sees it."""

    model_config = ConfigDict(frozen=True)

    id: str
    input: JsonValue = None
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class Limits(BaseModel):
    """How far a run may go, and how long it waits; times in seconds."""

    model_config = ConfigDict(frozen=True)

    max_concurrency: int = 5
    item_timeout: float | None = None
    run_timeout: float | None = None
    task_retries: int = 0
    fail_on_error: int | float | None = None
    """A count of failed items (int), or their share of all (float below 1), at which the run stops."""
    max_cost: float | None = None
    """USD that the run's judges and prompt task may cost together."""
    delivery_patience: float = 60.0
    """How long the end of a run waits for a Langfuse that is away."""
    visibility_delay: float = 10.0
    """How long Langfuse may take to show what it has stored."""
    cancel_grace: float = 10.0
    """How long items at work may go on after a cancel or the run's time-out."""


class RunSpec(BaseModel):
    """A run's order."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = RUN_SPEC_FORMAT
    version: str | None = None
    """Of the lfexp-mcp that wrote it; None in those of version 0.1."""
    created: datetime
    project_id: str
    base_url: str
    public_key: str | None = None
    """Tells the project where Langfuse does not answer; None in a run spec of version 0.1."""
    dataset_id: str
    dataset_name: str
    dataset_version: datetime
    """The items are those that the dataset had then."""
    item_count: int
    dry_run_of: int | None = None
    """Set for a dry run: how many results the whole run would have. Nothing of a dry run is sent."""
    experiments: tuple[ExperimentHead, ...]
    """One per repetition."""
    description: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The user's metadata."""
    task_script: Path | None = None
    task_prompt: dict[str, JsonValue] | None = None
    """A prompt that is the task, as it was resolved; instead of a script."""
    evaluator_script: Path | None = None
    score_scales: dict[str, Scale] = Field(default_factory=dict)
    """What score configs state for scores by name: the scale of a script's score that declares none."""
    judges: tuple[dict[str, JsonValue], ...] = ()
    """Judges as they were resolved, in the form of `judges.ResolvedJudge`."""
    warnings: tuple[str, ...] = ()
    """What was seen before the run that the user should know."""
    python: Path | None = None
    """The interpreter that was asked for; None for the setting's."""
    working_folder: Path
    """Where the task runs: the folder that its caller works in."""
    limits: Limits = Field(default_factory=Limits)

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
        return tuple(str(judge["score_name"]) for judge in self.judges)

    @property
    def models(self) -> list[str]:
        """The models that judges and a prompt task call."""
        return models_of(self.judges, self.task_prompt)

    @property
    def total_items(self) -> int:
        """Results that the whole run has in the end, repetitions included."""
        return self.item_count * self.repeats


def models_of(judges: Iterable[Mapping[str, JsonValue]], task_prompt: Mapping[str, JsonValue] | None) -> list[str]:
    """Return the models that judges and a prompt call, in the forms that a run spec keeps."""
    prompts = [task_prompt] if task_prompt is not None else []
    return [str(prompt["model"]) for prompt in (*judges, *prompts)]


class _Stamp(BaseModel):
    """What every version can read of a run spec."""

    format: int = RUN_SPEC_FORMAT
    version: str | None = None


def encode_run_spec(run_spec: RunSpec) -> bytes:
    """Return a run spec as a file holds it: JSON behind its length and checksum."""
    stamped = run_spec.model_copy(update={"version": __version__})
    return frame(stamped.model_dump_json(indent=2).encode())


def decode_run_spec(content: bytes) -> RunSpec:
    """Read what `encode_run_spec` wrote, or the plain JSON of version 0.1.

    Raises:
        ValueError: It is damaged, or of a newer version; the text is a clause that says so.
    """
    text = unframe(content.removesuffix(b"\n"))
    if text is None:
        if not content.startswith(b"{"):
            raise ValueError("its run spec is damaged")
        text = content
    try:
        stamp = _Stamp.model_validate_json(text)
        if stamp.format > RUN_SPEC_FORMAT:
            raise ValueError(
                f"lfexp-mcp {stamp.version or 'of a newer version'} wrote it (format {stamp.format}), and this is "
                f"{__version__} (format {RUN_SPEC_FORMAT}): use that version for this run"
            )
        return RunSpec.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"its run spec is damaged: {error.errors()[0]['msg']}") from error


def encode_items(items: Iterable[RunItem]) -> Iterator[bytes]:
    """Return the items of a run as a file holds them: a record each."""
    return (frame(item.model_dump_json().encode()) for item in items)


def read_items(path: Path) -> Iterator[RunItem]:
    """Read the items of a run in their order, one at a time; those of version 0.1 are lines of plain JSON.

    Raises:
        OSError: The file cannot be read.
        ValueError: An item is damaged; the text is a clause that says which.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            stored = line.removesuffix(b"\n")
            try:
                yield RunItem.model_validate_json(unframe(stored) or (stored if stored.startswith(b"{") else b""))
            except ValidationError as error:
                raise ValueError(f"its item {number} is damaged") from error
