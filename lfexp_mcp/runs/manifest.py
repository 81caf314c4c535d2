"""What a run was asked to do: all that its worker needs to know, without any secret."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


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
    cancel_grace: float = 10.0
    """How long items at work may go on after a cancel or the run's time-out."""


class Manifest(BaseModel):
    """A run's order."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    created: datetime
    project_id: str
    base_url: str
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
    def total_items(self) -> int:
        """Results that the whole run has in the end, repetitions included."""
        return self.item_count * self.repeats


def write_items(path: Path, items: Iterable[RunItem]) -> None:
    """Write the items of a run, one line of JSON each."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(item.model_dump_json() + "\n" for item in items)


def read_items(path: Path) -> Iterator[RunItem]:
    """Read the items of a run in their order, one at a time."""
    with path.open("rb") as file:
        for line in file:
            yield RunItem.model_validate_json(line)
