"""Runs compared: what `compare_runs`, `judge_pairs` and `confirm_run` answer."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, ChartedAnswer, ToolAnswer
from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.model import Interval, RunStatus

ScoreVerdict = Literal["better", "worse", "higher", "lower", "equivalent", "inconclusive", "not comparable"]
RatioMetric = Literal["seconds", "tokens", "cost_usd"]
"""Metrics compared as a ratio."""
Crossing = Literal["newly failing", "newly passing"]
ChangeKind = Literal["worse", "better", "lower", "higher", "newly erroring", "no longer erroring"]
CheckOutcome = Literal["passed", "failed", "undecided"]
IssueKind = Literal[
    "items",
    "part",
    "params",
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
    "replay",
]


class ScoreComparison(Answer):
    """One score of one run against the baseline's, on the items that both have."""

    score: str
    run: str
    verdict: ScoreVerdict = Field(
        description="`equivalent`: shown to be within `margin`. `higher`, `lower`: the score has no scale."
    )
    reason: str
    pairs: int = Field(description="Items scored in both runs; repeats of an item by their mean.")
    baseline_mean: float | None = Field(default=None, description="Over the pairs, on 0-1.")
    mean: float | None = None
    delta: float | None = None
    interval: Interval | None = Field(default=None, description="Of the delta, at the verdict's level.")
    p: float | None = None
    p_adjusted: float | None = Field(
        default=None, description="For the run's other scores; of a gain, for its place too."
    )
    candidate: int = Field(default=1, description="Place among all tried on these items.")
    margin: float = Field(description="`min_delta` in the score's units.")
    equivalent_within: float | None = None
    below_min_delta: bool = Field(default=False, description="The difference shown is below `margin`.")
    worst_case: Interval | None = Field(
        default=None, description="The delta if missing values were all at their worst, or best."
    )
    wins: int = Field(default=0, description="Items that score higher.")
    losses: int = 0
    ties: int = 0
    newly_failing: int = Field(default=0, description="Fell below the pass mark.")
    newly_passing: int = 0
    items_needed: int | None = Field(
        default=None, description="To show a difference of `items_needed_for` with power 0.8."
    )
    items_needed_for: float | None = None
    corrected: Corrected | None = None
    lower_is_better: SkipJsonSchema[bool | None] = Field(default=False, exclude=True)
    """Whether a delta below zero is an improvement, as without a scale; None if that is not known. Not published."""


class RunMetrics(Answer):
    """One run as a whole, over all its items."""

    run: str
    status: RunStatus
    part: str | None = None
    items: int
    succeeded: int
    failed: int = 0
    pending: int = 0
    means: dict[str, float] = Field(default_factory=dict, description="Over all scored items, paired or not.")
    error_rate: float | None = Field(default=None, description="Of the items that ended.")
    seconds_median: float | None = Field(default=None, description="Of the task, per item.")
    seconds_p95: float | None = None
    input_tokens: int | None = Field(default=None, description="Of the task's traced model calls.")
    output_tokens: int | None = None
    cost_usd: float | None = Field(default=None, description="Of these, without the judges'.")
    url: str | None = None
    replayed: bool = False


class Contrast(Answer):
    """Errors, time, tokens or cost of a run against the baseline, on the items that both have."""

    run: str
    measure: Literal["error_rate", RatioMetric]
    pairs: int
    difference: float | None = Field(default=None, description="Of error_rate.")
    ratio: float | None = Field(default=None, description="Of the others: geometric mean over items.")
    interval: Interval | None = None
    summary: str


class ChangedItem(Answer):
    """An item with different results in two runs; its texts are untrusted."""

    item_id: str
    baseline_value: float | None = None
    value: float | None = None
    crossed: Crossing | None = None
    input: JsonValue = None
    expected_output: JsonValue = None
    baseline_output: JsonValue = None
    output: JsonValue = None
    baseline_reason: str | None = Field(default=None, description="The judge's reason, or the task's error.")
    reason: str | None = None


class ChangeList(Answer):
    """Items that changed in one way, the largest changes first."""

    paged = frozenset({"items"})

    kind: ChangeKind
    run: str
    score: str | None = None
    total: int
    items: list[ChangedItem] = Field(default_factory=list)
    next_cursor: str | None = None


class ComparabilityIssue(Answer):
    """A difference between runs besides the task itself."""

    kind: Annotated[IssueKind, WithJsonSchema({"type": "string"})]
    unfair: bool = Field(description="Rules out a fair comparison of the score, or of all.")
    run: str
    score: str | None = None
    message: str


class GateCheck(Answer):
    """One condition of the gate, for one run."""

    expression: str
    run: str
    outcome: CheckOutcome = Field(
        description="`undecided` does not pass: too few values are known, or the run is not completed."
    )
    value: float | None = None
    unit: str | None = None
    message: str
    part: str | None = Field(default=None, description="Set where this says nothing about the whole dataset.")


class Gate(Answer):
    """Whether the runs pass the conditions given as `fail_if`."""

    passed: bool
    checks: list[GateCheck]


class Comparison(ChartedAnswer):
    """Runs of a dataset compared item by item."""

    dataset: str
    baseline: str
    runs: list[RunMetrics]
    scores: list[ScoreComparison] = Field(default_factory=list)
    contrasts: list[Contrast] = Field(default_factory=list)
    comparability: list[ComparabilityIssue] = Field(default_factory=list)
    changes: list[ChangeList] = Field(default_factory=list)
    gate: Gate | None = None
    pass_mark: float = Field(description="Value on 0-1 from which an item passes.")
    min_delta: float
    notice: str = UNTRUSTED_NOTICE


class PairsAnswer(ToolAnswer):
    """How often a judge preferred the outputs of one run to those of another."""

    status: Annotated[RunStatus, WithJsonSchema({"type": "string"})]
    run_a: str
    run_b: str
    judge: str
    score_name: str | None = Field(default=None, description="1 win, 0.5 tie, 0 loss.")
    progress: str | None = None
    wins: int = Field(default=0, description="Items that run_b won.")
    losses: int = 0
    ties: int = 0
    inconsistent: int = Field(default=0, description="Ties, by the order.")
    identical: int = Field(default=0, description="Ties, not asked.")
    unscored: int = Field(default=0, description="Pairs that lack a verdict.")
    unpaired: int = Field(default=0, description="Results without a pair.")
    preference: float | None = Field(default=None, description="For run_b; a tie is half a win.")
    interval: Interval | None = None
    p: float | None = Field(default=None, description="Sign test.")
    verdict: Literal["better", "worse", "inconclusive"] | None = None
    asked: int = Field(default=0, description="Pairs asked.")
    first_preferred: int = Field(default=0, description="First won in both orders.")
    second_preferred: int = 0


class ConfirmAnswer(ToolAnswer):
    """A verdict by held-out items, none of which is shown: its figures are rounded so that they reveal none."""

    status: Annotated[RunStatus | Literal["planned"], WithJsonSchema({"type": "string"})]
    score_name: str
    verdict: Annotated[
        Literal["better", "worse", "equivalent", "inconclusive"] | None, WithJsonSchema({"type": "string"})
    ] = None
    """None until both runs are complete."""
    reason: str
    delta: float | None = None
    interval: Interval | None = None
    p_adjusted: float | None = None
    """For all looks, rounded up."""
    look: int = Field(description="Which look at these items.")
    held_out: int
    items_needed: int | None = None
    """To show `min_delta` with power 0.8, by what the shown items told."""
    min_delta: float
    """As stated before the first look; with `planned`, the smallest that the held-out items can show."""
    code: dict[str, str] = Field(default_factory=dict, description="Versions of the tasks.")
    """By run, the baseline first."""
