"""What a run is asked to be."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from lfexp_mcp.model import NextStep

SAMPLE_SIZE = 10
LARGEST_SAMPLE = 1000

RunName = Annotated[
    str, Field(min_length=1, max_length=200, description="New name, unique in the dataset, such as `prompt-b-2`.")
]
SampleSize = Annotated[int, Field(ge=1, le=LARGEST_SAMPLE, description="Traces to copy in `live`.")]
MaxConcurrency = Annotated[int, Field(ge=1, le=1000, description="Items at work at once.")]
ItemTimeout = Annotated[float | None, Field(gt=0, description="Seconds a task may take for one item.")]
RunTimeout = Annotated[float | None, Field(gt=0, description="Seconds the whole run may take.")]
TaskRetries = Annotated[
    int, Field(ge=0, le=100, description="Further tries of a task that fails; leave 0 if tasks have effects.")
]
Repeats = Annotated[int, Field(ge=1, le=100, description="Runs of every item, to see its spread, pass@k and flips.")]
FailOnError = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="Stop at this many failed items (1 and more), or at this share of them (below 1).",
    ),
]
JudgeSamples = Annotated[
    int, Field(ge=1, le=100, description="Votes per judge and item; the mean is stored, with the spread.")
]
MaxCost = Annotated[
    float | None, Field(gt=0, description="USD; the run stops before its judges and its task_prompt spend more.")
]


def live_dataset_name(run_name: str) -> str:
    """Name the dataset that a run in live mode makes."""
    return f"live-{run_name}"


class RunRequest(BaseModel):
    """What to run. A resume keeps the task, the evaluator script and the judges of before where it names none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_name: RunName
    task_script: Path | None = None
    dataset: str | None = None
    source_type: Literal["dataset", "live"] = "dataset"
    sample_size: SampleSize = SAMPLE_SIZE
    use_langfuse_judges: bool = False
    judges: list[str] | None = None
    evaluator_script: Path | None = None
    max_concurrency: MaxConcurrency = 5
    description: str | None = None
    metadata: dict[str, JsonValue] | None = None
    resume: bool = False
    python: Path | None = None
    item_timeout: ItemTimeout = None
    run_timeout: RunTimeout = None
    task_retries: TaskRetries = 0
    repeats: Repeats = 1
    fail_on_error: FailOnError = None
    judge_samples: JudgeSamples = 1
    dry_run: bool = False
    max_cost: MaxCost = None
    task_prompt: str | None = None
    model: str | None = None
    provider: Literal["openai", "anthropic"] | None = None

    def step(self, why: str, **changes: JsonValue) -> NextStep:
        """Propose this very call, with some arguments changed."""
        changed = self.model_copy(update=changes)
        return NextStep("run_experiment", changed.model_dump(mode="json", exclude_defaults=True), why)

    @property
    def dataset_name(self) -> str:
        """The dataset's name; that of live mode is made of the run's."""
        return live_dataset_name(self.run_name) if self.source_type == "live" else self.dataset or ""

    @property
    def failure_limit(self) -> int | float | None:
        """`fail_on_error` as a count (int) or a share (float)."""
        limit = self.fail_on_error
        return int(limit) if limit is not None and limit >= 1 else limit

    @property
    def names_task(self) -> bool:
        """Whether the request says what the task is; a resume need not."""
        return self.task_script is not None or self.task_prompt is not None

    @property
    def names_judges(self) -> bool:
        """Whether the request says which judges score the run."""
        return bool(self.judges) or self.use_langfuse_judges

    @model_validator(mode="after")
    def _is_complete(self) -> "RunRequest":
        if self.task_script is not None and self.task_prompt is not None:
            raise ValueError("pass either task_script (a Python file with a `task` function) or task_prompt, not both")
        if not self.names_task and not self.resume:
            raise ValueError("pass task_script (a Python file with a `task` function) or task_prompt")
        if self.source_type == "dataset" and not self.dataset:
            raise ValueError("pass the dataset to run over, or source_type='live'")
        if self.task_script is not None and (self.model or self.provider):
            raise ValueError("model and provider are those of a task_prompt; a task_script calls its model itself")
        if self.source_type == "dataset" and self.sample_size != SAMPLE_SIZE:
            raise ValueError("sample_size is of source_type='live'; a dataset is run whole")
        if self.dry_run and self.resume:
            raise ValueError("dry_run begins nothing that could be resumed: leave one of the two out")
        if not self.run_name.strip():
            raise ValueError("run_name is blank")
        return self
