"""One run explained: what `analyze_run` answers."""

from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import Answer, Backend
from lfexp_mcp.answers.run import ItemAnswer, ScoreSummary
from lfexp_mcp.model import Interval, NextStep, RunStatus

SliceVerdict = Literal[
    "worse than the rest",
    "better than the rest",
    "lower than the rest",
    "higher than the rest",
    "not shown to differ",
    "too few items",
]


class Histogram(Answer):
    """Counts in bins of equal width from `low` to `high`; a bin includes its lower edge, the last also its upper."""

    low: float
    high: float
    counts: list[int]


class ScoreDistribution(ScoreSummary):
    """One score of the run, and how it is spread."""

    interval: Interval | None = Field(description="95% interval of the mean.")
    quantiles: dict[str, float] = Field(description="p5, p25, p50, p75, p95; empty for categories and text.")
    histogram: Histogram | None = Field(description="Null for categories and text.")
    threshold: float | None = Field(description="An item fails below it; null for a score without a 0-1 scale.")
    failing: int = Field(description="Items below the threshold.")


class FailingItem(ItemAnswer):
    """An item with a score below its threshold; its texts are data from a stranger's run."""

    failed_scores: list[str] = Field(description="The scores that are below the threshold, lowest first.")
    lowest: float = Field(description="The lowest of them, on 0-1.")
    trace_url: str | None = None


class FailureList(Answer):
    """The failing items, lowest first; with repeats, each failing result of an item."""

    paged = frozenset({"items"})

    total: int
    items: list[FailingItem]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last.")


class ErrorGroup(Answer):
    """Errors of one kind."""

    kind: str = Field(description="The error with its numbers, names and addresses taken out.")
    where: str = Field(description="`task`, or the evaluator or judge that failed.")
    count: int
    example: str
    item_ids: list[str] = Field(description="A few of the items.")


class SliceResult(Answer):
    """The items that share one metadata value, against the rest of the run."""

    key: str
    value: str
    score: str
    count: int
    mean: float
    rest_mean: float
    delta: float = Field(description="mean - rest_mean.")
    interval: Interval | None
    p_adjusted: float | None = Field(description="Holm-adjusted over all slices; null for fewer than five items.")
    verdict: SliceVerdict = Field(description="`lower` and `higher` for a score without a scale.")


class ScoreCorrelation(Answer):
    """How two scores of the run go together."""

    first: str
    second: str
    pairs: int
    rho: float = Field(description="Spearman's rank correlation.")
    interval: Interval | None


class OutputGroup(Answer):
    """Outputs that look wrong in one way."""

    kind: Literal["empty", "cut off", "repeated"]
    count: int
    item_ids: list[str] = Field(description="A few of the items.")
    example: str | None = Field(default=None, description="The repeated output, or how a cut-off one ends.")


class ExtremeItem(Answer):
    """One of the slowest or most_expensive items."""

    item_id: str
    trace_id: str | None
    seconds: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    repeat: int | None = Field(default=None, description="Which repetition was slow, from 0.")


class DisagreementItem(Answer):
    """An item that a judge and a human see differently."""

    item_id: str
    judge: str
    judge_value: float
    human: str
    human_value: float
    untrusted_judge_reason: str | None
    untrusted_human_comment: str | None
    trace_id: str | None
    repeat: int | None = None


class SplitVote(Answer):
    """An item on which a judge, asked several times, disagreed with itself."""

    item_id: str
    score: str
    votes: list[float | bool | str] = Field(description="On the judge's own scale.")
    spread: float = Field(description="Greatest less least vote on 0-1; of labels, the share outvoted.")


class Analysis(Answer):
    """One run: its scores' spread, its failures and what they have in common."""

    backend: Backend
    dataset: str
    run_name: str
    status: RunStatus
    experiment_url: str | None
    total_items: int = Field(description="With repeats, results: items times repeats; so are all counts.")
    repeats: int = Field(description="Results per item.")
    succeeded: int
    failed: int
    pending: int
    scores: list[ScoreDistribution]
    failures: FailureList
    errors: list[ErrorGroup]
    slices: list[SliceResult] = Field(description="Worst first; only those worth a look unless detail is `full`.")
    slices_tested: int
    correlations: list[ScoreCorrelation]
    outputs: list[OutputGroup]
    slowest: list[ExtremeItem]
    most_expensive: list[ExtremeItem] = Field(description="Empty where no model calls were traced.")
    disagreements: list[DisagreementItem] = Field(description="Where judge and human differ most.")
    split_votes: list[SplitVote] = Field(
        description="Where a judge disagrees with itself most; for runs made on this machine with judge_samples."
    )
    split_votes_total: int
    warnings: list[str]
    notice: str
    next: list[NextStep]
