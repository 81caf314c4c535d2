"""What the services are asked for: each argument with its description, default and bounds.

The tools' input schemas and the shell's flags derive from these models.
"""

import difflib
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import EvaluatorChoice, Limits, NextStep, ProviderName, check_params
from lfexp_mcp.services.answer_size import Detail
from lfexp_mcp.services.item_choice import ItemsArgument
from lfexp_mcp.services.trace_filter import TracesArgument
from lfexp_mcp.services.variants import Variants

if TYPE_CHECKING:
    from lfexp_mcp.scores.limits import Limit

DEFAULT_SAMPLE_SIZE = 10
MAX_SAMPLE_SIZE = 1000

DatasetName = Annotated[str, Field(min_length=1, description="Name of the Langfuse dataset.")]
RunName = Annotated[str, Field(min_length=1, description="Name of the run within its dataset.")]
ScoreName = Annotated[str | None, Field(description="Only this score.")]
Cursor = Annotated[str | None, Field(description="`next_cursor` of the previous answer, for the page after it.")]
PageSize = Annotated[int, Field(ge=1, le=100, description="Entries in a page.")]
ListSize = Annotated[int, Field(ge=1, le=100, description="Items listed in each group.")]
ShownDetail = Annotated[
    Detail, Field(description="`full` gives texts uncut; `summary` cuts long ones and states their length.")
]
FilePath = Annotated[Path, WithJsonSchema({"type": "string"})]
ScriptPath = Annotated[
    FilePath | None, Field(description="Path of a .py file, absolute or relative to the working directory.")
]


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ScoringLimits(Request):
    """How far the scoring of results may go."""

    max_concurrency: int = Field(default=5, ge=1, le=1000, description="Items run at once.")
    run_timeout: float | None = Field(default=None, gt=0, description="Seconds the whole run may take.")
    judge_samples: int = Field(
        default=1, ge=1, le=100, description="Votes per judge and item; the mean is stored, with the spread."
    )
    max_cost: float | None = Field(
        default=None, gt=0, description="USD; the run stops before its judges and its task_prompt spend more."
    )

    def limits(self, **waits: float) -> Limits:
        """Return the limits of the run, with the waits that the settings define; see `Limits`."""
        asked = self.model_dump(include=Limits.model_fields.keys() & type(self).model_fields.keys())
        return Limits.model_validate(asked | waits)


class ScoringRequest(ScoringLimits):
    """What scores the results of a run, and how far that may go."""

    run_name: RunName
    use_langfuse_judges: bool = Field(
        default=False,
        description="Score with the judges in the dataset's metadata `judge_prompts`, else with every prompt named "
        "`judge-*`.",
    )
    judges: list[str] | None = Field(
        default=None, description="Judge prompts to score with: `judge-tone`, `judge-tone@production`, `judge-tone:3`."
    )
    evaluator_script: ScriptPath = None
    evaluators: list[str | dict[str, JsonValue]] | None = Field(
        default=None,
        description="Built-in evaluators: `exact_match`, `contains`, `regex:^[A-Z]`, `json_schema:{...}`, "
        "`json_fields`, `numeric:tolerance=0.01`, `edit_similarity`, `latency`, `cost:max_usd=0.01`, "
        "`tool_calls:any_order`; options also as object, "
        '`{"name": "numeric", "relative": 0.05, "score_name": "total"}`. A refusal names the options.',
    )
    python: FilePath | None = Field(
        default=None, description="Interpreter that runs the scripts, one that has their packages and lfexp-mcp."
    )

    @property
    def built_in_evaluators(self) -> tuple[EvaluatorChoice, ...]:
        """The built-in evaluators, checked; see `parse_evaluators`."""
        from lfexp_mcp.evaluators import parse_evaluators

        return parse_evaluators(self.evaluators or ())

    @property
    def names_judges(self) -> bool:
        """Whether the request says which judges score the run."""
        return bool(self.judges) or self.use_langfuse_judges


class ScoreRunRequest(ScoringRequest):
    """A run to score again, and what to score it with."""

    dataset: DatasetName
    batch: bool = Field(
        default=False,
        description="Ask the judges by their providers' batch endpoints: half the price, minutes to 24 hours.",
    )

    @property
    def dataset_name(self) -> str:
        """The dataset's name."""
        return self.dataset

    @model_validator(mode="after")
    def _is_complete(self) -> "ScoreRunRequest":
        if not (self.names_judges or self.evaluators or self.evaluator_script):
            raise ValueError("pass judges, use_langfuse_judges, evaluators or evaluator_script to score the run with")
        if self.batch and not self.names_judges:
            raise ValueError("batch is about judges; pass judges or use_langfuse_judges")
        return self


class PairsRequest(ScoringLimits):
    """Two runs whose outputs a pairwise judge compares."""

    dataset: DatasetName
    run_a: str = Field(min_length=1, description="The run to compare with.")
    run_b: str = Field(min_length=1, description="The run whose items get the scores.")
    judge: str = Field(
        min_length=1,
        description="Judge prompt with `{{output_a}}` and `{{output_b}}` that asks for `A`, `B` or `tie`: "
        "`judge-pair`, `judge-pair@production`, `judge-pair:3`.",
    )

    @property
    def dataset_name(self) -> str:
        """The dataset's name."""
        return self.dataset

    @property
    def run_name(self) -> str:
        """The run that is scored."""
        return self.run_b

    @property
    def scoring(self) -> ScoreRunRequest:
        """What scores it."""
        limits = self.model_dump(include=set(ScoringLimits.model_fields))
        return ScoreRunRequest(dataset=self.dataset, run_name=self.run_b, judges=[self.judge], **limits)

    @model_validator(mode="after")
    def _names_two_runs(self) -> "PairsRequest":
        if self.run_a == self.run_b:
            raise ValueError("run_b: it is run_a; name two different runs")
        return self


class RunRequest(ScoringRequest):
    """A run to start or resume. A resume keeps the task, evaluator script and judges that it names no others for."""

    run_name: str = Field(
        min_length=1, max_length=200, description="New name, unique in the dataset, such as `prompt-b-2`."
    )
    task_script: ScriptPath = None
    dataset: str | None = Field(default=None, description="Dataset to run over; leave out with source_type `live`.")
    source_type: Literal["dataset", "live"] = Field(
        default="dataset",
        description="`live` first copies the newest production traces into dataset `live-<run_name>`; what "
        "production answered is in an item's metadata `production_output`.",
    )
    sample_size: int = Field(
        default=DEFAULT_SAMPLE_SIZE, ge=1, le=MAX_SAMPLE_SIZE, description="Traces to copy in `live`."
    )
    traces: TracesArgument = Field(default=None, description="Only these in `live`; as of create_dataset.")
    items: ItemsArgument = Field(
        default=None,
        description="Part of the dataset: a number (seeded sample; larger ones contain smaller), ids, a condition on "
        'metadata (`language=de and level in [1, 2]`), or what another run failed: `{"run": "a", "which": "failed"}` '
        '(or `errored`), `{"run": "a", "score": "accuracy", "below": 0.5}`; `where` and `sample` narrow it. A resume '
        "goes on with a wider choice, or `all`.",
    )
    params: Annotated[dict[str, JsonValue], AfterValidator(check_params)] | None = Field(
        default=None,
        description="JSON object for `task(*, item, params)`, or the variables of task_prompt; stored with the run.",
    )
    variants: Variants = Field(
        default=None,
        description='Runs `<run_name>-<name>` side by side, ranked against the first: `[{"name": "a", "params": {}}, '
        "...]`, each with `params`, `task_script`, `task_prompt`, `model` or `provider` of its own. They share "
        "max_concurrency and max_cost.",
    )
    description: str | None = Field(default=None, description="What this run tries, for later readers.")
    metadata: dict[str, JsonValue] | None = Field(default=None, description="JSON object stored with the run.")
    resume: bool = Field(
        default=False,
        description="Resume the run of this name: only what is missing, failed or unscored is done. It keeps its "
        "task, evaluator script and judges unless this call names others.",
    )
    item_timeout: float | None = Field(default=None, gt=0, description="Seconds a task may take for one item.")
    task_retries: int = Field(
        default=0, ge=0, le=100, description="Further tries of a task that fails; leave 0 if tasks have effects."
    )
    repeats: int = Field(
        default=1, ge=1, le=100, description="Runs of every item, to see its spread, pass@k and flips."
    )
    fail_on_error: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Stop at this many failed items (1 and more), or at this share of them (below 1).",
    )
    dry_run: bool = Field(
        default=False, description="Run two items, store nothing, and estimate calls, tokens and cost of the whole."
    )
    task_prompt: str | None = Field(
        default=None,
        description="Langfuse prompt to run instead of a script: `my-prompt`, `my-prompt@label`, `my-prompt:3`.",
    )
    model: str | None = Field(default=None, description="Model for task_prompt.")
    provider: ProviderName | None = Field(default=None, description="Provider of that model.")

    def step(self, why: str, **changes: object) -> NextStep:
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

    def limits(self, **waits: float) -> Limits:
        """Return the limits of the run; see `ScoringRequest.limits`."""
        return super().limits(**waits).model_copy(update={"fail_on_error": self.failure_limit})

    @property
    def names_task(self) -> bool:
        """Whether the request says what the task is; a resume need not."""
        return self.task_script is not None or self.task_prompt is not None

    @model_validator(mode="after")
    def _is_complete(self) -> "RunRequest":
        if self.task_script is not None and self.task_prompt is not None:
            raise ValueError("pass either task_script (a Python file with a `task` function) or task_prompt, not both")
        if self.variants is not None:
            return self._checked_sweep(len(self.variants))
        if not self.names_task and not self.resume:
            raise ValueError("pass task_script (a Python file with a `task` function) or task_prompt")
        if self.source_type == "dataset" and not self.dataset:
            raise ValueError("pass the dataset to run over, or source_type `live`")
        if self.task_script is not None and (self.model or self.provider):
            raise ValueError("model and provider apply to a task_prompt; a task_script calls its model itself")
        if self.source_type == "dataset" and self.sample_size != DEFAULT_SAMPLE_SIZE:
            raise ValueError("sample_size needs source_type `live`; choose a part of a dataset by `items`")
        if self.source_type == "dataset" and self.traces is not None:
            raise ValueError("traces needs source_type `live`; create_dataset makes a dataset of traces")
        if self.source_type == "live" and self.items is not None:
            raise ValueError("items chooses from a dataset; with source_type `live`, sample_size says how many traces")
        if self.dry_run and self.resume:
            raise ValueError("a dry_run cannot be resumed: leave out dry_run or resume")
        if not self.run_name.strip():
            raise ValueError("run_name is blank")
        return self

    def _checked_sweep(self, runs: int) -> "RunRequest":
        if not self.dataset or self.source_type == "live":
            raise ValueError("variants run over a dataset, not over `live` traces: pass the dataset")
        if self.dry_run:
            raise ValueError("a dry_run is of one run: leave out variants, and pass what one of them has")
        if self.max_concurrency < runs:
            raise ValueError(f"variants share max_concurrency, and each runs an item: it has to be {runs} or more")
        return self

    def variant_requests(self) -> "list[VariantRequest]":
        """Return the requests of the sweep's runs; `params` of a variant are added to those of the sweep.

        Raises:
            UsageError: A variant cannot be run; the text names it.
        """
        variants = self.variants or []
        shared = {name: getattr(self, name) for name in self.model_fields_set - {"variants"}}
        found = []
        for variant in variants:
            own = {name: getattr(variant, name) for name in variant.model_fields_set - {"name"}}
            if variant.task_script or variant.task_prompt:
                # Another task has another model.
                left_out = {"task_script", "task_prompt", "model", "provider"}
                shared_here = {name: value for name, value in shared.items() if name not in left_out}
            else:
                shared_here = shared
            asked = {**shared_here, **own, "run_name": f"{self.run_name}-{variant.name}", "variant_of": self.run_name}
            if self.params or variant.params:
                asked["params"] = {**(self.params or {}), **(variant.params or {})}
            if self.max_cost is not None:
                asked["max_cost"] = self.max_cost / len(variants)
            try:
                found.append(build(VariantRequest, **asked))
            except UsageError as error:
                raise UsageError(f"Variant {variant.name!r}: {error}") from None
        return found


class VariantRequest(RunRequest):
    """A run of a sweep."""

    variant_of: str = Field(exclude=True)
    """The sweep's name."""


def live_dataset_name(run_name: str) -> str:
    """Name the dataset that a run in live mode makes."""
    return f"live-{run_name}"


class ListRunsRequest(Request):
    """A page of a dataset's runs."""

    dataset: DatasetName
    limit: PageSize = 20
    cursor: Cursor = None


class CancelRunRequest(Request):
    """A run to cancel."""

    dataset: DatasetName
    run_name: RunName


class CompareRequest(Request):
    """What to compare, and what to conclude from."""

    dataset: DatasetName
    runs: list[str] = Field(min_length=2, description="Run names; the first is the baseline.")
    baseline: str | None = Field(default=None, description="Another baseline among them.")
    score_name: ScoreName = None
    primary_score: str | None = Field(default=None, description="Judge it unadjusted for other scores.")
    min_delta: float | None = Field(
        default=None, gt=0, le=1, description="Smallest difference of means (0-1) that matters to you."
    )
    fail_if: list[str] | None = Field(
        default=None,
        description="What fails a run: `accuracy<0.8`, `accuracy.delta<-0.02`, `error_rate>5%`, `accuracy.worse`, "
        "`worse`. On 0-1 with 1 best, or `quality<4/5` on the score's own scale. A partial run passes none.",
    )
    limit: ListSize = 10
    cursor: str | None = Field(default=None, description="`next_cursor` of one of the `changes`, to go on in it.")
    detail: ShownDetail = "summary"

    @model_validator(mode="after")
    def _names_fit_together(self) -> "CompareRequest":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("runs: a run is named twice; name two different runs")
        if self.baseline is not None and self.baseline not in self.runs:
            raise ValueError(f"baseline: {self.baseline!r} is not among the runs to compare")
        if None not in (self.primary_score, self.score_name) and self.primary_score != self.score_name:
            raise ValueError(f"score_name: only {self.score_name!r} is compared, without the primary score")
        return self


class AnalyzeRequest(Request):
    """What to explain."""

    dataset: DatasetName
    run_name: RunName
    show_failures: bool = Field(
        default=False, description="List the failing items whole, with inputs, outputs and reasons."
    )
    score_name: ScoreName = None
    score_threshold: float | str | None = Field(
        default=None,
        description="An item fails below it: 0-1, `80%`, or `4/5` on the own scale of `score_name`.",
    )
    limit: ListSize = 10
    cursor: Cursor = None
    detail: ShownDetail = "summary"

    @field_validator("score_threshold")
    @classmethod
    def _is_a_limit(cls, given: float | str | None) -> float | str | None:
        from lfexp_mcp.scores.limits import parse_limit

        if given is not None and parse_limit(str(given)).value < 0:
            raise ValueError(f"{given} lies below every score; write 0.8, 80%, or 4/5 on a score's own scale")
        return given

    @model_validator(mode="after")
    def _names_the_score_of_its_scale(self) -> "AnalyzeRequest":
        if self.score_name is None and not self.limit_of_scores.is_canonical:
            raise ValueError(
                f"score_threshold: {self.score_threshold} is on one score's own scale: name its score_name"
            )
        return self

    @property
    def limit_of_scores(self) -> "Limit":
        """The threshold."""
        from lfexp_mcp.scores.limits import PASS_MARK, Limit, parse_limit

        return Limit(PASS_MARK) if self.score_threshold is None else parse_limit(str(self.score_threshold))


class CommentsRequest(Request):
    """Whose comments to fetch, and about what."""

    score_name: str | None = Field(default=None, description="Comments of this score only.")
    dataset: str | None = Field(default=None, description="With run_name: comments on that run's items.")
    run_name: str | None = Field(default=None, description="Run of that dataset.")
    trace_ids: list[str] | None = Field(default=None, min_length=1, description="Comments on these traces.")
    queue: str | None = Field(default=None, description="Annotation queue, by name or id.")
    author: str | None = Field(default=None, description="User id of who wrote them.")
    since: datetime | None = Field(default=None, description="Written at or after, ISO 8601.")
    until: datetime | None = Field(default=None, description="Written before, ISO 8601.")
    limit: int = Field(default=50, ge=1, le=500, description="Comments in a page.")
    cursor: Cursor = None
    themes: dict[str, list[str]] | None = Field(
        default=None, description='Themes to count beside those found, such as `{"tone": ["rude", "curt"]}`.'
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "CommentsRequest":
        if self.run_name is not None and self.dataset is None:
            raise ValueError("run_name: name the dataset of the run too")
        empty = next((name for name, terms in (self.themes or {}).items() if not any(map(str.strip, terms))), None)
        if empty is not None:
            raise ValueError(f"themes: theme {empty!r} has no words; give some, such as ['rude', 'curt']")
        return self


R = TypeVar("R", bound=BaseModel)


def build(model: type[R], /, **arguments: object) -> R:
    """Build a service's request.

    Args:
        model: The request's model.
        **arguments: Its fields; one that is None takes the model's default.

    Raises:
        UsageError: A value that the service cannot work with; the text names the argument.
    """
    try:
        return model.model_validate({name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        raise UsageError(refusal(error, model.model_fields)) from None


def refusal(error: ValidationError, names: Collection[str]) -> str:
    """Say which arguments of a call are wrong, and how.

    Args:
        error: What checking them raised.
        names: The arguments that there are.
    """
    wrong = "; ".join(_sentence(details, names) for details in error.errors(include_input=False))
    return f"The call cannot be carried out: {wrong}."


def _sentence(details: ErrorDetails, names: Collection[str]) -> str:
    where = ".".join(str(part) for part in details["loc"])
    match details["type"]:
        case "extra_forbidden" if len(details["loc"]) == 1:
            near = difflib.get_close_matches(where, names, n=1, cutoff=0.5)
            known = f"the nearest is {near[0]}" if near else f"the arguments are {', '.join(names)}"
            return f"there is no argument {where}: {known}"
        case "extra_forbidden":
            return f"{where} is none of the keys that it can have"
        case "missing":
            return f"{where} is missing"
        case _:
            message = details["msg"].removeprefix("Value error, ").removesuffix(".")
            return f"{where}: {message}" if where else message
