"""Requests to run an experiment, or several of them as the variants of a sweep."""

import unicodedata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import EngineName, EngineOptions, Limits, NextStep, ProviderName, Sweep, check_params
from lfexp_mcp.services.requests.base import ScriptPath, build, from_json
from lfexp_mcp.services.requests.collecting import DEFAULT_SAMPLE_SIZE, MAX_SAMPLE_SIZE, TracesArgument
from lfexp_mcp.services.requests.items import ItemsArgument
from lfexp_mcp.services.requests.scoring import ScoringRequest

MAX_VARIANTS = 20
OF_TASK = frozenset({"task_script", "task_prompt", "model", "provider"})
"""What a variant with another task does not take over from its sweep."""

EngineArgument = Annotated[
    EngineOptions | None,
    BeforeValidator(from_json),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]}),
]


def _plain(name: str) -> str:
    """Leave out of a name what no reader sees, so that names that look alike are the same."""
    return unicodedata.normalize("NFC", name).strip()


class Variant(BaseModel):
    """One run of a sweep: what it has of its own. Its `params` are added to those of the sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_plain)] = Field(min_length=1)
    params: Annotated[dict[str, JsonValue], AfterValidator(check_params)] | None = None
    task_script: Path | None = None
    task_prompt: str | None = None
    model: str | None = None
    provider: ProviderName | None = None


def _check_names(variants: list[Variant] | None) -> list[Variant] | None:
    if variants is None:
        return None
    if not 1 <= len(variants) <= MAX_VARIANTS:
        raise ValueError(f"pass 1 to {MAX_VARIANTS} variants, not {len(variants)}")
    names: set[str] = set()
    for name in (variant.name for variant in variants):
        if not name or name in names:
            raise ValueError(f"{name!r} is {'used twice' if name else 'blank'}; the names tell the runs apart")
        names.add(name)
    return variants


Variants = Annotated[
    list[Variant] | None,
    BeforeValidator(from_json),
    AfterValidator(_check_names),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "object"}}, {"type": "null"}]}),
]


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
    compare_with: str | None = Field(default=None, min_length=1, description="Baseline run.")
    stop_when: Literal["decided"] | None = Field(
        default=None,
        description="`decided`: stops once primary_score is better or worse than in compare_with, or will not show "
        "min_delta; items in random order.",
    )
    primary_score: str | None = Field(default=None, description="It decides.")
    min_delta: float | None = Field(default=None, gt=0, lt=1, description="Of stop_when, on 0-1.")
    dry_run: bool = Field(
        default=False, description="Run two items, store nothing, and estimate calls, tokens and cost of the whole."
    )
    task_prompt: str | None = Field(
        default=None,
        description="Langfuse prompt to run instead of a script: `my-prompt`, `my-prompt@label`, `my-prompt:3`.",
    )
    model: str | None = Field(default=None, description="Model for task_prompt.")
    provider: ProviderName | None = Field(default=None, description="Provider of that model.")
    engine: EngineName | None = Field(default=None, description="`ray`: scripts run on a cluster.")
    engine_options: EngineArgument = Field(default=None, description="`address`, per item `num_cpus`, `num_gpus`, ...")

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

    @field_validator("fail_on_error")
    @classmethod
    def _is_count_or_share(cls, given: float | None) -> float | None:
        if given is not None and given > 1 and not given.is_integer():
            raise ValueError(f"{given:g} is neither a number of items nor a share of them below 1")
        return given

    @model_validator(mode="after")
    def _is_complete(self) -> "RunRequest":
        if self.task_script is not None and self.task_prompt is not None:
            raise ValueError("pass either task_script (a Python file with a `task` function) or task_prompt, not both")
        if self.engine_options is not None and self.engine != "ray":
            raise ValueError("engine_options are those of engine `ray`: pass engine too")
        if self.variants is not None:
            return self._checked_sweep(len(self.variants))
        if not self.names_task and not self.resume:
            raise ValueError("pass task_script (a Python file with a `task` function) or task_prompt")
        if self.source_type == "dataset" and not self.dataset:
            raise ValueError("pass the dataset to run over, or source_type `live`")
        if self.task_script is not None and (self.model or self.provider):
            raise ValueError("model and provider apply to a task_prompt; a task_script calls its model itself")
        if self.engine == "ray" and self.task_prompt is not None:
            raise ValueError("engine `ray` runs a task_script; a task_prompt's model is called from here: omit engine")
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
        if not self.resume and any(unicodedata.category(character) == "Cc" for character in self.run_name):
            raise ValueError(f"run_name {self.run_name!r} contains a line break or another control character")
        return self._checked_stopping()

    def _checked_stopping(self) -> "RunRequest":
        if (self.compare_with is None) is not (self.stop_when is None):
            raise ValueError("compare_with and stop_when belong together: pass both, or compare afterwards")
        if self.compare_with is None and (self.primary_score or self.min_delta):
            raise ValueError("primary_score and min_delta are about stop_when; compare_runs takes them as well")
        if self.compare_with is not None and self.source_type == "live":
            raise ValueError("stop_when needs items that compare_with has results of, which new `live` ones are not")
        chosen_by = self.items.run if self.items is not None else None
        if self.compare_with is not None and self.compare_with in (self.run_name, chosen_by):
            raise ValueError("compare_with: the run itself, or one that items are chosen by, is not a fair baseline")
        return self

    def _checked_sweep(self, runs: int) -> "RunRequest":
        if not self.dataset or self.source_type == "live":
            raise ValueError("variants run over a dataset, not over `live` traces: pass the dataset")
        if self.stop_when is not None:
            raise ValueError("variants are compared with the first of them, which has no results yet: omit stop_when")
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
        for index, variant in enumerate(variants):
            # A client may write out what it leaves open as null.
            own = variant.model_dump(exclude={"name"}, exclude_none=True)
            replaced = OF_TASK if own.keys() & {"task_script", "task_prompt"} else ()
            asked = {name: value for name, value in shared.items() if name not in replaced} | own
            asked["run_name"] = f"{self.run_name}-{variant.name}"
            asked["sweep"] = Sweep(self.run_name, len(variants), index)
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

    sweep: Sweep = Field(exclude=True)

    @property
    def variant_of(self) -> str:
        """The sweep's name."""
        return self.sweep.name


def live_dataset_name(run_name: str) -> str:
    """Name the dataset that a run in live mode makes."""
    return f"live-{run_name}"
