"""A run: what `run_experiment`, `get_run`, `cancel_run` and `list_runs` answer."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from lfexp_mcp.answers.base import Answer, Backend
from lfexp_mcp.model import EvaluatorInfo, ItemStatus, NextStep, RunStatus, ScoreDataType, ScoreSource


class ScoreShare(Answer):
    """The scores of one name that one maker gave."""

    maker: str = Field(description="Judge with version and model, script function, or who else.")
    count: int
    mean: float | None = Field(description="On 0-1; null where the values are not read so.")
    counted: bool = Field(description="False for others' scores of this name, which the summary leaves out.")


class ScoreSummary(Answer):
    """One score over all items of a run."""

    name: str
    data_type: ScoreDataType
    mean: float | None = Field(
        description="Over the scored items, on the canonical 0-1 scale; the share of true for BOOLEAN; null when "
        "nothing was scored, or for categories without values."
    )
    display: str = Field(description="The mean for a reader, such as `0.82 (8.2/10)`.")
    count: int = Field(description="Items scored.")
    unscored: int = Field(description="Items whose evaluator or judge failed: not counted as zero.")
    min: float | None
    max: float | None
    scale: str | None = Field(description="The scale the values came on, such as `0-10`; null for categories and text.")
    scale_source: str | None = Field(description="Where the scale was found.")
    clamped: int = Field(default=0, description="Values outside their scale, in no mean.")
    categories: dict[str, int] | None = Field(default=None, description="Counts per category.")
    makers: list[ScoreShare] = Field(
        default_factory=list,
        description="Set where several made scores of this name; `mean` is null if theirs do not mean the same.",
    )


class ItemError(Answer):
    """An item whose task, evaluator or judge failed."""

    item_id: str
    error: str


class ProviderRetries(Answer):
    """Calls to a model provider that failed and were made again."""

    provider: str
    retries: int
    rate_limited: int = Field(description="Those of them that a rate limit had turned away (429, 529).")


class Progress(Answer):
    """How far a run at work has come; what a resume runs again is not done."""

    done: int = Field(description="Items whose task has ended, well or not.")
    total: int
    failed: int
    running: int = Field(default=0, description="Items whose task runs now.")
    scoring: int = Field(default=0, description="Items whose scores are awaited.")
    longest_wait: float | None = Field(
        default=None, description="Seconds for which the oldest of the running items, else of those in scoring, has."
    )
    items_per_second: float | None
    seconds_left: float | None = Field(description="Null also where only running items are left.")
    provider_retries: list[ProviderRetries] = Field(default_factory=list)


class RepeatedScore(Answer):
    """What the repeats of a run show of one score."""

    name: str
    repeats: int = Field(description="Results per item, the `k` below.")
    pass_mark: float = Field(description="Value on 0-1 from which a result passes; a failed task does not.")
    items: int = Field(description="Items with all k results: what the shares are of.")
    pass_at_1: float | None = Field(description="Mean share of an item's results that pass.")
    pass_at_k: float | None = Field(description="Share of items with at least one passing result.")
    pass_all_k: float | None = Field(description="Share of items whose every result passes.")
    spread: float | None = Field(description="Mean standard deviation of an item's values on 0-1.")
    flips: int = Field(description="Items that pass in one repeat and not in another.")
    flipping_items: list[str] = Field(description="A few of them.")


class ModelUse(Answer):
    """What a judge, or a task that is a prompt, used of its model."""

    name: str = Field(description="The judge's score, or the task's prompt.")
    role: Literal["judge", "task"]
    model: str
    calls: int = Field(description="Requests made, failed and repeated ones included.")
    retries: int = Field(description="Those of them that repeated a failed one.")
    input_tokens: int
    output_tokens: int
    seconds_per_call: float = Field(description="Mean time of the calls that were answered.")
    cost_usd: float | None = Field(description="Null where the model's price, or its tokens, are not known.")
    price_source: str | None = Field(default=None, description="Langfuse's model table, else a library by its version.")


class RunEstimate(Answer):
    """What judges and the prompt task of a whole run would use, by its dry run; not what a script's own code calls."""

    results: int = Field(description="Results of the whole run: items times repeats.")
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None = Field(description="Null where a price is unknown.")
    unknown_prices: list[str] = Field(description="Models whose price, or tokens, are not known.")
    price_sources: list[str] = Field(default_factory=list)


class RunAnswer(Answer):
    """A run and its scores."""

    status: RunStatus
    backend: Backend
    dataset: str
    run_name: str
    experiment_id: str | None = Field(description="Null while the run is being prepared.")
    experiment_url: str | None
    description: str | None = None
    total_items: int = Field(description="With repeats, results: items times repeats; so are all counts.")
    repeats: int = Field(default=1, description="Results per item.")
    succeeded: int
    failed: int = Field(description="Items whose task raised or timed out.")
    pending: int = Field(description="Items not run yet.")
    undelivered: int = Field(
        default=0, description="Scores and spans kept on disk that Langfuse has not acknowledged yet."
    )
    progress: Progress | None = Field(default=None, description="Set while the run is at work.")
    scores: list[ScoreSummary]
    repeated_scores: list[RepeatedScore] = Field(default_factory=list, description="Set for a run with repeats.")
    run_scores: dict[str, float | bool | str] = Field(default_factory=dict, description="Scores of the whole run.")
    evaluators: list[EvaluatorInfo]
    models: list[ModelUse] = Field(
        default_factory=list,
        description="Models called by judges and prompt tasks, known for runs made on this machine; what a script's "
        "own code calls is not counted.",
    )
    cost_usd: float | None = Field(
        default=None, description="Of all `models` together, as Langfuse shows it; null if none or a price is unknown."
    )
    judge_cost_usd: float | None = Field(default=None, description="Of the judges alone.")
    task_cost_usd: float | None = Field(default=None, description="Of the prompt that is the task alone.")
    estimate: RunEstimate | None = Field(
        default=None, description="Set by a dry run, of which nothing was stored: what the whole run would use."
    )
    errors: list[ItemError] = Field(description="A few of the failures.")
    warnings: list[str]
    log: str | None = Field(default=None, description="File with what the user's code printed.")
    worker_exit_code: int | None = Field(
        default=None, description="Of a worker that died; minus the number of the signal that killed it."
    )
    next: list[NextStep]


class ItemScore(Answer):
    """One score of one item."""

    name: str
    value: float | bool | str | None = Field(description="Canonical value; null where the evaluator or judge failed.")
    comment: str | None = Field(default=None, description="The judge's or human's reason.")
    error: str | None = Field(default=None, description="Why there is no value.")
    raw: float | None = Field(default=None, description="The value on the judge's own scale, where it differs.")
    source: ScoreSource = "API"


class ItemAnswer(Answer):
    """One item of a run."""

    item_id: str
    status: ItemStatus
    input: JsonValue
    output: JsonValue
    expected_output: JsonValue
    error: str | None = None
    scores: list[ItemScore]
    metadata: dict[str, JsonValue] | None = Field(default=None, description="The item's; null in a list of items.")
    trace_id: str | None
    seconds: float | None = None
    repeat: int | None = Field(default=None, description="Which repetition, from 0; null for a run without repeats.")


class RunDetail(RunAnswer):
    """A run, with a page of its items."""

    paged = frozenset({"items"})

    items: list[ItemAnswer]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last.")
    notice: str


class RunListEntry(Answer):
    """One run in a list."""

    name: str
    created: datetime
    description: str | None
    results: int = Field(
        description="As Langfuse counts them: an item that was run again, on a resume, counts again; of a run with "
        "repeats, those of its first repetition. get_run counts items."
    )
    planned: int | None = Field(default=None, description="Results that the run is to have; null for runs of others.")
    metadata: dict[str, JsonValue]
    status: RunStatus | None = Field(
        default=None, description="`unknown`: running on another machine, or died there. Null for runs of others."
    )


class RunList(Answer):
    """The runs of a dataset, newest first."""

    paged = frozenset({"runs"})

    backend: Backend
    dataset: str
    runs: list[RunListEntry]
    next_cursor: str | None
    warnings: list[str] = Field(default_factory=list)
    next: list[NextStep]
