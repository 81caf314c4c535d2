"""Runs compared: what `compare_runs` answers."""

from typing import Literal

from pydantic import Field, JsonValue

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, Backend
from lfexp_mcp.model import Interval, NextStep, RunStatus

ScoreVerdict = Literal["better", "worse", "higher", "lower", "equivalent", "inconclusive", "not comparable"]
RatioMetric = Literal["seconds", "tokens", "cost_usd"]
"""Metrics compared as a ratio."""
Crossing = Literal["newly failing", "newly passing"]
ChangeKind = Literal["worse", "better", "lower", "higher", "newly erroring", "no longer erroring"]
CheckOutcome = Literal["passed", "failed", "undecided"]
IssueKind = Literal[
    "items",
    "content",
    "unpaired scores",
    "dataset version",
    "evaluator script",
    "judge",
    "scale",
    "time-out",
    "concurrency",
    "status",
    "source",
]


class ScoreComparison(Answer):
    """One score of one run against the baseline's, on the items that both have."""

    score: str
    run: str
    verdict: ScoreVerdict = Field(
        description="`equivalent`: shown to be within `margin` of the baseline. `higher`, `lower`: for a score without "
        "a scale, where it is unknown which is better."
    )
    reason: str
    pairs: int = Field(description="Items scored in both runs; repeats of an item count once, by their mean.")
    baseline_mean: float | None = Field(default=None, description="Over the pairs, on 0-1.")
    mean: float | None = None
    delta: float | None = Field(default=None, description="mean - baseline_mean.")
    interval: Interval | None = Field(default=None, description="95% interval of the delta.")
    p: float | None = None
    p_adjusted: float | None = Field(
        default=None, description="Holm-adjusted over all scores and runs; a primary score only over the runs."
    )
    margin: float = Field(description="`min_delta` in the score's units.")
    below_min_delta: bool = Field(default=False, description="Better or worse is shown, but by less than `margin`.")
    worst_case: Interval | None = Field(
        default=None,
        description="The delta if all missing values were at their worst, and at their best; over 2% missing.",
    )
    method: str | None = None
    wins: int = Field(default=0, description="Items that score higher than in the baseline.")
    losses: int = Field(default=0, description="Items that score lower.")
    ties: int = 0
    newly_failing: int = Field(default=0, description="Items that fell below the pass mark.")
    newly_passing: int = 0
    items_needed: int | None = Field(
        default=None,
        description="When inconclusive: items to show a difference of `items_needed_for` with power 0.8.",
    )
    items_needed_for: float | None = None
    scale: str | None = Field(default=None, description="The scale of the raw values.")


class RunMetrics(Answer):
    """One run as a whole, over all its items."""

    run: str
    baseline: bool
    status: RunStatus
    items: int
    succeeded: int
    failed: int
    pending: int
    means: dict[str, float] = Field(description="Mean per score over all scored items, paired or not.")
    displays: dict[str, str] = Field(description="The same for a reader, such as `0.82 (8.2/10)`.")
    error_rate: float | None = Field(default=None, description="Failed items among those that ended.")
    seconds_median: float | None = Field(default=None, description="Task time per item.")
    seconds_p95: float | None = None
    input_tokens: int | None = Field(default=None, description="Of the task's model calls that were traced.")
    output_tokens: int | None = None
    cost_usd: float | None = Field(default=None, description="Of the task's model calls, without the judges'.")
    url: str | None = None


class Contrast(Answer):
    """Errors, time, tokens or cost of a run against the baseline, on the items that both have."""

    run: str
    measure: Literal["error_rate", RatioMetric]
    pairs: int
    difference: float | None = Field(default=None, description="For error_rate: run - baseline.")
    ratio: float | None = Field(default=None, description="For the others: run / baseline, geometric mean over items.")
    interval: Interval | None = None
    p: float | None = None
    summary: str


class ChangedItem(Answer):
    """An item with different results in two runs; its texts are untrusted."""

    item_id: str
    baseline_value: float | None = None
    value: float | None = None
    crossed: Crossing | None = Field(default=None, description="Whether it crossed the pass mark.")
    input: JsonValue = None
    expected_output: JsonValue = None
    baseline_output: JsonValue = None
    output: JsonValue = None
    baseline_reason: str | None = Field(default=None, description="The judge's reason, or the task's error.")
    reason: str | None = None
    baseline_trace_id: str | None = None
    trace_id: str | None = None
    baseline_trace_url: str | None = None
    trace_url: str | None = None


class ChangeList(Answer):
    """Items that changed in one way, the largest changes first."""

    paged = frozenset({"items"})

    kind: ChangeKind = Field(description="`lower` and `higher` for a score without a scale.")
    run: str
    score: str | None = Field(default=None, description="Not set for errors.")
    total: int
    items: list[ChangedItem]
    next_cursor: str | None = Field(default=None, description="Continues this list.")


class ComparabilityIssue(Answer):
    """A difference between runs besides the task itself."""

    kind: IssueKind
    unfair: bool = Field(description="Whether it rules out a fair comparison of the score, or of all.")
    run: str
    score: str | None = None
    message: str


class GateCheck(Answer):
    """One condition of the gate, for one run."""

    expression: str
    run: str
    outcome: CheckOutcome = Field(
        description="`undecided`, which does not pass: a run is not completed, or too few values are known."
    )
    value: float | None = None
    unit: str | None = Field(default=None, description="`canonical 0-1`, the score's own scale, or `share of items`.")
    message: str


class Gate(Answer):
    """Whether the runs pass the conditions given as `fail_if`."""

    passed: bool
    checks: list[GateCheck]


class Comparison(Answer):
    """Runs of a dataset compared item by item."""

    backend: Backend
    dataset: str
    baseline: str
    runs: list[RunMetrics]
    scores: list[ScoreComparison]
    contrasts: list[Contrast]
    comparability: list[ComparabilityIssue]
    changes: list[ChangeList]
    gate: Gate | None = None
    pass_mark: float = Field(description="Value on 0-1 from which an item passes.")
    min_delta: float = Field(description="Smallest difference of interest.")
    warnings: list[str]
    notice: str = UNTRUSTED_NOTICE
    next: list[NextStep]
