"""A run: what `run_experiment`, `get_run`, `cancel_run` and `list_runs` answer."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_serializer

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, Backend
from lfexp_mcp.model import EvaluatorInfo, ItemStatus, NextStep, RunStatus, ScoreDataType, ScoreSource


class ScoreShare(Answer):
    """The scores of one name from one maker."""

    maker: str = Field(description="A judge with version and model, a script's function, or someone else.")
    count: int
    mean: float | None = Field(default=None, description="On 0-1, where the scale is known.")
    counted: bool = Field(description="False for scores that the summary leaves out.")


class ScoreSummary(Answer):
    """One score over all items of a run."""

    name: str
    data_type: ScoreDataType
    mean: float | None = Field(
        default=None,
        description="Over the scored items, on the canonical 0-1 scale; the share of true for BOOLEAN; not set for "
        "categories without values.",
    )
    display: str = Field(description="The mean for a reader, such as `0.82 (8.2/10)`.")
    count: int = Field(description="Items scored.")
    unscored: int = Field(description="Items whose evaluator or judge failed; not counted as zero.")
    min: float | None = None
    max: float | None = None
    scale: str | None = Field(default=None, description="The scale of the raw values, such as `0-10`.")
    scale_source: str | None = Field(default=None, description="Where the scale was found.")
    clamped: int = Field(default=0, description="Values outside their scale, not in the mean.")
    categories: dict[str, int] | None = Field(default=None, description="Counts per category.")
    makers: list[ScoreShare] = Field(
        default_factory=list,
        description="Set where several made scores of this name; no `mean` if they cannot be pooled.",
    )


class ItemError(Answer):
    """An item whose task, evaluator or judge failed."""

    item_id: str
    error: str


class ProviderRetries(Answer):
    """Calls to a model provider that failed and were repeated."""

    provider: str
    retries: int
    rate_limited: int = Field(description="Those after a rate limit (429, 529).")


class Progress(Answer):
    """How far a running run has come; items that a resume repeats are not done."""

    done: int = Field(description="Items whose task has ended, failed ones included.")
    total: int
    failed: int
    running: int = Field(default=0, description="Items whose task is running.")
    scoring: int = Field(default=0, description="Items waiting for their scores.")
    longest_wait: float | None = Field(
        default=None, description="Seconds that the oldest running item, else the oldest in scoring, has taken."
    )
    items_per_second: float | None = None
    seconds_left: float | None = Field(default=None, description="Estimated; not where only running items are left.")
    provider_retries: list[ProviderRetries] = Field(default_factory=list)


class RepeatedScore(Answer):
    """How one score varies over the repeats of a run."""

    name: str
    repeats: int = Field(description="Results per item (k).")
    pass_mark: float = Field(description="Value on 0-1 from which a result passes; failed tasks do not.")
    items: int = Field(description="Items with all k results, which the shares are of.")
    pass_at_1: float | None = Field(default=None, description="Mean share of an item's results that pass.")
    pass_at_k: float | None = Field(default=None, description="Share of items with at least one passing result.")
    pass_all_k: float | None = Field(default=None, description="Share of items whose every result passes.")
    spread: float | None = Field(default=None, description="Mean standard deviation of an item's values on 0-1.")
    flips: int = Field(description="Items that pass in one repeat and fail in another.")
    flipping_items: list[str] = Field(description="A few of them.")


class ModelUse(Answer):
    """Model usage of a judge, or of a task that is a prompt."""

    name: str = Field(description="Name of the judge's score, or of the task's prompt.")
    role: Literal["judge", "task"]
    model: str
    calls: int = Field(description="Requests, retries included.")
    retries: int
    input_tokens: int
    output_tokens: int
    seconds_per_call: float = Field(description="Mean over the answered calls.")
    cost_usd: float | None = Field(default=None, description="Set where price and tokens are known.")
    price_source: str | None = Field(default=None, description="Langfuse's model table, or a library and its version.")


class RunEstimate(Answer):
    """What the judges and the prompt task of the whole run would use, estimated from its dry run."""

    results: int = Field(description="Items times repeats.")
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None = None
    unknown_prices: list[str] = Field(description="Models without known price or tokens.")
    price_sources: list[str] = Field(default_factory=list)


class RunAnswer(Answer):
    """A run and its scores."""

    status: RunStatus
    backend: Backend
    dataset: str
    run_name: str
    experiment_id: str | None = Field(default=None, description="Not set while the run is being prepared.")
    experiment_url: str | None = None
    description: str | None = None
    total_items: int = Field(description="With repeats, results: items times repeats; so are all counts.")
    repeats: int = Field(default=1, description="Results per item.")
    succeeded: int | None = Field(default=None, description="Not set while the run's journal is still being read.")
    failed: int | None = Field(default=None, description="Items whose task raised or timed out.")
    pending: int | None = Field(default=None, description="Items not run yet.")
    undelivered: int = Field(default=0, description="Scores and spans not yet acknowledged by Langfuse, kept on disk.")
    progress: Progress | None = Field(default=None, description="Set while running.")
    scores: list[ScoreSummary]
    repeated_scores: list[RepeatedScore] = Field(default_factory=list, description="Set for a run with repeats.")
    run_scores: dict[str, float | bool | str] = Field(default_factory=dict, description="Scores of the whole run.")
    evaluators: list[EvaluatorInfo]
    models: list[ModelUse] = Field(
        default_factory=list,
        description="Models called by judges and prompt tasks, for runs made on this machine; calls of a script's own "
        "code are not counted.",
    )
    cost_usd: float | None = Field(default=None, description="Of all `models`; not set if a price is unknown.")
    judge_cost_usd: float | None = None
    task_cost_usd: float | None = None
    estimate: RunEstimate | None = Field(default=None, description="Set by a dry run, of which nothing is stored.")
    errors: list[ItemError] = Field(description="A few of the failures.")
    warnings: list[str]
    log: str | None = Field(default=None, description="File with the output of the user's code.")
    worker_exit_code: int | None = Field(default=None, description="Of a worker that died; negative for a signal.")
    next: list[NextStep]

    @field_serializer("evaluators", mode="wrap")
    def _without_none_either(
        self, evaluators: list[EvaluatorInfo], serialise: SerializerFunctionWrapHandler
    ) -> list[dict[str, JsonValue]]:
        return [{name: value for name, value in each.items() if value is not None} for each in serialise(evaluators)]


class ItemScore(Answer):
    """One score of one item."""

    name: str
    value: float | bool | str | None = Field(default=None, description="Canonical value; not set if scoring failed.")
    comment: str | None = Field(default=None, description="The judge's or human's reason.")
    error: str | None = Field(default=None, description="Why there is no value.")
    raw: float | None = Field(default=None, description="The value on the judge's own scale, if different.")
    source: ScoreSource = "API"


class ItemAnswer(Answer):
    """One item of a run."""

    item_id: str
    status: ItemStatus
    input: JsonValue = None
    output: JsonValue = None
    expected_output: JsonValue = None
    error: str | None = None
    scores: list[ItemScore]
    metadata: dict[str, JsonValue] | None = Field(default=None, description="Of the dataset item; not in lists.")
    trace_id: str | None = None
    seconds: float | None = None
    repeat: int | None = Field(default=None, description="Repetition, from 0; for a run with repeats.")


class RunDetail(RunAnswer):
    """A run, with a page of its items."""

    paged = frozenset({"items"})

    items: list[ItemAnswer]
    next_cursor: str | None = Field(default=None, description="Pass it as `cursor` for the next page.")
    notice: str = UNTRUSTED_NOTICE


class RunListEntry(Answer):
    """One run in a list."""

    name: str
    created: datetime
    description: str | None = None
    results: int = Field(
        description="As Langfuse counts: items run again on a resume count again; with repeats, only the first "
        "repetition. get_run counts items."
    )
    planned: int | None = Field(default=None, description="Results the run is to have, if made by lfexp-mcp.")
    metadata: dict[str, JsonValue]
    status: RunStatus | None = Field(
        default=None,
        description="`unknown`: running on another machine, or died there. Set for runs made by lfexp-mcp.",
    )


class RunList(Answer):
    """The runs of a dataset, newest first."""

    paged = frozenset({"runs"})

    backend: Backend
    dataset: str
    runs: list[RunListEntry]
    next_cursor: str | None = None
    warnings: list[str] = Field(default_factory=list)
    next: list[NextStep]
