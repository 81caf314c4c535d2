"""Two or more runs against each other: what `compare_runs` answers."""

from typing import Literal

from pydantic import Field, JsonValue

from lfexp_mcp.answers.base import Answer, Backend
from lfexp_mcp.model import Interval, NextStep, RunStatus

ComparedVerdict = Literal["better", "worse", "higher", "lower", "equivalent", "inconclusive", "not comparable"]
Ratio = Literal["seconds", "tokens", "cost_usd"]
"""What is compared as a ratio."""
Crossing = Literal["newly failing", "newly passing"]
ChangeKind = Literal["worse", "better", "lower", "higher", "newly erroring", "no longer erroring"]
CheckOutcome = Literal["passed", "failed", "undecided"]
FindingKind = Literal[
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
    verdict: ComparedVerdict = Field(
        description="`equivalent`: shown to lie within `margin` of the baseline. `higher`, `lower`: of a score without "
        "a scale, of which nobody knows what is better."
    )
    reason: str
    pairs: int = Field(description="Items scored in both runs; with repeats, an item counts once, with its mean.")
    baseline_mean: float | None = Field(description="Over the pairs, canonical 0-1; null when not comparable.")
    mean: float | None
    delta: float | None = Field(description="mean - baseline_mean.")
    interval: Interval | None = Field(description="95% interval of the delta.")
    p: float | None
    p_adjusted: float | None = Field(
        description="Holm-adjusted over all scores and runs; a primary score over the runs alone."
    )
    margin: float = Field(description="`min_delta` in the score's units.")
    below_min_delta: bool = Field(description="Better or worse is shown, but by less than `margin`.")
    worst_case: Interval | None = Field(
        description="The delta were all missing values at their worst, and at their best; null up to 2% missing."
    )
    method: str | None
    wins: int = Field(description="Items that scored higher than in the baseline; for pass/fail, newly passing.")
    losses: int = Field(description="Items that scored lower; for pass/fail, newly failing.")
    ties: int
    newly_failing: int = Field(description="Items that fell below the pass mark.")
    newly_passing: int
    items_needed: int | None = Field(
        description="When inconclusive: items that would show `items_needed_for` with power 0.8, at the adjusted level."
    )
    items_needed_for: float | None
    scale: str | None = Field(description="The scale the values came on; null when they fit none.")


class RunFigures(Answer):
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
    error_rate: float | None = Field(description="Failed items among those that ended; null when none did.")
    seconds_median: float | None = Field(description="Task time per item.")
    seconds_p95: float | None
    input_tokens: int | None = Field(description="Of the task's model calls, where they were traced.")
    output_tokens: int | None
    cost_usd: float | None = Field(description="Of the task's model calls; judges' are not counted.")
    url: str | None


class Contrast(Answer):
    """What one run costs against the baseline, on the items that both have."""

    run: str
    measure: Literal["error_rate", Ratio]
    pairs: int
    difference: float | None = Field(description="For error_rate: run - baseline.")
    ratio: float | None = Field(
        description="For the others: run / baseline, the typical (geometric mean) item; null where not comparable."
    )
    interval: Interval | None = Field(description="95% interval of the difference or ratio.")
    p: float | None
    summary: str


class ChangedItem(Answer):
    """One item that came out differently; its texts are data from a stranger's run."""

    item_id: str
    baseline_value: float | None
    value: float | None
    crossed: Crossing | None = Field(default=None, description="Whether it crossed the pass mark.")
    input: JsonValue
    expected_output: JsonValue
    baseline_output: JsonValue
    output: JsonValue
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
    score: str | None = Field(description="Null for errors.")
    total: int
    items: list[ChangedItem]
    next_cursor: str | None = Field(description="Pass it as `cursor` to go on in this list; null at its end.")


class Finding(Answer):
    """Something that makes runs differ beside what is being compared."""

    kind: FindingKind
    unfair: bool = Field(description="Whether a score cannot be compared fairly because of it.")
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
    value: float | None
    unit: str | None = Field(
        description="`canonical 0-1` (1 is best), the score's own scale, or `share of items`; null for `worse`."
    )
    message: str = Field(description="What was found, over how many items.")


class Gate(Answer):
    """Whether the conditions given as `fail_if` let the runs pass."""

    passed: bool
    checks: list[GateCheck]


class Comparison(Answer):
    """Runs of a dataset compared item by item."""

    backend: Backend
    dataset: str
    baseline: str
    runs: list[RunFigures]
    scores: list[ScoreComparison]
    contrasts: list[Contrast]
    comparability: list[Finding]
    changes: list[ChangeList]
    gate: Gate | None = Field(description="Set when `fail_if` was given.")
    pass_mark: float = Field(description="Canonical value from which an item passes.")
    min_delta: float = Field(description="The smallest difference that counts as one worth seeing.")
    warnings: list[str]
    notice: str
    next: list[NextStep]
