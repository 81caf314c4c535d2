"""A run: what `run_experiment`, `get_run`, `cancel_run` and `list_runs` answer."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, ToolAnswer
from lfexp_mcp.answers.comparison import ScoreVerdict
from lfexp_mcp.model import ItemStatus, LookVerdict, RunStatus, ScoreSource


class ScoreSummary(Answer):
    """One score over all items of a run."""

    name: str
    mean: float | None = Field(
        default=None, description="Over the scored items, on the canonical 0-1 scale; the share of true for BOOLEAN."
    )
    display: str = Field(description="The mean for a reader, such as `0.82 (8.2/10)`.")
    count: int
    unscored: int = Field(default=0, description="Items whose evaluator or judge failed; not counted as zero.")
    min: float | None = None
    max: float | None = None
    scale: str | None = Field(default=None, description="Of the raw values, such as `0-10`.")
    scale_source: str | None = None
    clamped: int = Field(default=0, description="Out of scale, not in the mean.")
    categories: dict[str, int] = Field(default_factory=dict)
    makers: list[str] = Field(
        default_factory=list, description="Who made how many, where several did; no `mean` if they cannot be pooled."
    )


class ItemError(Answer):
    """An item whose task, evaluator or judge failed."""

    item_id: str
    error: str


class RepeatedScore(Answer):
    """How one score varies over the repeats of a run."""

    name: str
    items: int = Field(description="Those with all k results, of which the shares are.")
    pass_at_1: float | None = None
    pass_at_k: float | None = Field(default=None, description="Share with at least one passing result.")
    pass_all_k: float | None = None
    spread: float | None = Field(default=None, description="Mean standard deviation of an item's values.")
    flips: int = Field(default=0, description="Items that pass in one repeat and fail in another.")
    flipping_items: list[str] = Field(default_factory=list)


class ModelUse(Answer):
    """Model usage of a judge, or of a task that is a prompt."""

    name: str = Field(description="Of the judge's score, or of the task's prompt.")
    role: Literal["judge", "task"]
    model: str
    calls: int = Field(description="With retries.")
    batched: int = Field(default=0, description="Of the calls, at half the price.")
    retries: int = 0
    input_tokens: int
    output_tokens: int
    seconds_per_call: float
    cost_usd: float | None = None
    price_source: str | None = None


def total_cost(models: Sequence[ModelUse]) -> float | None:
    """Add up what models cost; None if that of one is unknown, or there are none."""
    costs = [model.cost_usd for model in models if model.cost_usd is not None]
    return math.fsum(costs) if models and len(costs) == len(models) else None


class RunEstimate(Answer):
    """What the judges and the prompt task of the whole run would use, estimated from its dry run."""

    results: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None = None
    unknown_prices: list[str] = Field(default_factory=list, description="Models that `cost_usd` lacks.")


class StoppingAnswer(Answer):
    """How a run with a stopping rule stands."""

    baseline: str
    score: str
    min_delta: float
    verdict: LookVerdict | None = None
    """That of the look that stopped the run, and of all comparisons with the baseline by this score; None before."""
    looks: list[str] = Field(default_factory=list)
    """Those taken, in words."""
    next_look: int | None = None
    """Items after which there is the next one."""
    items_saved: int = 0
    calls_saved: int | None = None
    """Estimated from the calls to models so far; None where these are not known."""
    method: str


class RunProgress(ToolAnswer):
    """How a run stands."""

    status: RunStatus
    dataset: str
    run_name: str
    part: str | None = Field(default=None, description="Set for a part of the dataset: `20 of 400 items: a sample`.")
    total_items: int = Field(description="With repeats, items times repeats; so are all counts.")
    repeats: int = 1
    succeeded: int | None = Field(default=None, description="Not set while the run's journal is still being read.")
    failed: int | None = Field(default=None, description="Items whose task raised or timed out.")
    pending: int | None = None
    replayed: bool = False
    """Whether its models were answered from a recording, so that no time, tokens or cost are known."""
    undelivered: int = Field(default=0, description="Scores and spans that Langfuse has not acknowledged, on disk.")


class RunAnswer(RunProgress):
    """A run and its scores."""

    experiment_id: str | None = None
    experiment_url: str | None = None
    description: str | None = None
    params: dict[str, JsonValue] | None = None
    progress: str | None = Field(default=None, description="Set while running.")
    scoring: Annotated[RunStatus | None, WithJsonSchema({"type": "string"})] = Field(
        default=None, description="Status of the newest score_run."
    )
    scores: list[ScoreSummary] = Field(default_factory=list)
    repeated_scores: list[RepeatedScore] = Field(default_factory=list)
    run_scores: dict[str, float | bool | str] = Field(default_factory=dict, description="Scores of the whole run.")
    evaluators: list[str] = Field(default_factory=list, description="With version, model and scale of judges.")
    models: list[ModelUse] = Field(
        default_factory=list,
        description="Called by judges and prompt tasks of runs of this machine; without a script's own calls.",
    )
    cost_usd: float | None = Field(default=None, description="Not set if a price is unknown.")
    estimate: RunEstimate | None = Field(default=None, description="Of the whole run, by a dry run.")
    errors: list[ItemError] = Field(default_factory=list, description="A few of the failures.")
    stopping: Annotated[StoppingAnswer | None, WithJsonSchema({"type": "object"})] = Field(
        default=None, description="Of stop_when: verdict, looks, what was saved, method."
    )
    log: str | None = Field(default=None, description="File: what the user's code printed.")


class RankedRun(Answer):
    """A run of a sweep by one score; `rank` 1 has the largest difference to the first run, over the items of both."""

    score: str
    run: str
    rank: int | None = None
    mean: float | None = None
    delta: float | None = None
    p_adjusted: float | None = None
    verdict: Annotated[ScoreVerdict | Literal["first run"], WithJsonSchema({"type": "string"})]
    pairs: int | None = None


class SweepAnswer(RunAnswer):
    """A run, or all runs of a sweep."""

    variants: dict[str, str] = Field(default_factory=dict, description="Runs of a sweep.")
    ranking: list[RankedRun] = Field(default_factory=list, description="When all have ended; as compare_runs.")


class ItemScore(Answer):
    """One score of one item."""

    name: str
    value: float | bool | str | None = Field(default=None, description="Canonical; not set if scoring failed.")
    comment: str | None = Field(default=None, description="The judge's or human's reason.")
    error: str | None = None
    raw: float | None = Field(default=None, description="On the judge's own scale, if that differs.")
    source: ScoreSource | None = Field(default=None, description="Not set for `API`, as of judges and evaluators.")
    failed: bool = Field(default=False, description="Below the threshold of analyze_run.")


class ObservationAnswer(Answer):
    """A span, model call, tool call or event of what a task did; its texts are untrusted."""

    id: str
    type: str
    name: str | None = None
    parent: str | None = Field(default=None, description="Id of the one it is within.")
    level: str | None = Field(default=None, description="Set unless `DEFAULT`.")
    message: str | None = None
    input: JsonValue = None
    output: JsonValue = None
    model: str | None = None
    usage: dict[str, float] = Field(default_factory=dict, description="Tokens by kind.")
    cost_usd: float | None = None
    seconds: float | None = None


class ItemAnswer(Answer):
    """One item of a run."""

    item_id: str
    status: ItemStatus
    input: JsonValue = None
    output: JsonValue = None
    expected_output: JsonValue = None
    error: str | None = None
    scores: list[ItemScore] = Field(default_factory=list)
    metadata: dict[str, JsonValue] | None = Field(default=None, description="Of the dataset item; not in lists.")
    trace_id: str | None = None
    trace_url: str | None = None
    seconds: float | None = None
    repeat: int | None = Field(default=None, description="From 0; for a run with repeats.")
    observations: list[ObservationAnswer] = Field(
        default_factory=list, description="What the task did, in order; with `item_id`."
    )


class RunDetail(RunAnswer):
    """A run, with a page of its items; only the first page tells more of the run than its status."""

    paged = frozenset({"items"})

    matching: int | None = Field(default=None, description="Results that the filter leaves.")
    items: list[ItemAnswer] = Field(default_factory=list)
    next_cursor: str | None = None
    notice: str = UNTRUSTED_NOTICE


class RunListEntry(Answer):
    """One run in a list."""

    name: str
    created: datetime
    description: str | None = None
    results: Annotated[int | None, WithJsonSchema({"type": "integer"})] = Field(
        default=None,
        description="As Langfuse counts: items that a resume ran again count again, repeats do not. See get_run.",
    )
    """None of a run from before the holdout, of which Langfuse counts held-out items too."""
    planned: int | None = Field(default=None, description="Results it is to have, if known.")
    replayed: bool = False
    part: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    status: RunStatus | None = Field(default=None, description="`unknown`: running on another machine, or died there.")


class RunList(ToolAnswer):
    """The runs of a dataset, newest first."""

    paged = frozenset({"runs"})

    dataset: str
    runs: list[RunListEntry] = Field(default_factory=list)
    next_cursor: str | None = None
