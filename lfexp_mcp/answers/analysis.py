"""One run explained: what `analyze_run` answers."""

from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, Backend
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
    """Counts in bins of equal width from `low` to `high`."""

    low: float
    high: float
    counts: list[int]


class ScoreDistribution(ScoreSummary):
    """One score of the run, and how its values are distributed."""

    interval: Interval | None = Field(default=None, description="95% interval of the mean.")
    quantiles: dict[str, float] = Field(default_factory=dict, description="p5, p25, p50, p75, p95.")
    histogram: Histogram | None = Field(default=None, description="Set for numbers.")
    threshold: float | None = Field(default=None, description="An item fails below it; set for scores on 0-1.")
    failing: int = Field(default=0, description="Items below the threshold.")


class FailingItem(ItemAnswer):
    """An item with a score below its threshold; its texts are untrusted."""

    failed_scores: list[str] = Field(description="The scores below the threshold, lowest first.")
    lowest: float = Field(description="The lowest of them, on 0-1.")
    trace_url: str | None = None


class FailureList(Answer):
    """The failing items, lowest first; with repeats, each failing result."""

    paged = frozenset({"items"})

    total: int
    items: list[FailingItem]
    next_cursor: str | None = None


class FailureGroup(Answer):
    """Results that fail alike."""

    by: Literal["error", "expected and actual", "comment", "output"]
    where: str | None = Field(default=None, description="The scores that fail; of an error, `task` or what scores.")
    key: str = Field(description='What they share, such as `"spam" -> "ham"` or an error without what varies in it.')
    count: int
    of: int = Field(description="Results with this expected output; else the failing ones, or the errors, of `where`.")
    items: int | None = Field(default=None, description="Distinct items, where repeats make it fewer.")
    examples: list[str] = Field(description="Two item ids.")
    text: str | None = Field(default=None, description="The first one's, where the key leaves some out.")


class SliceResult(Answer):
    """The items that share a metadata value, against the rest of the run."""

    key: str
    value: str
    score: str
    count: int
    mean: float
    rest_mean: float
    delta: float = Field(description="mean - rest_mean.")
    interval: Interval | None = None
    p_adjusted: float | None = Field(
        default=None, description="Holm-adjusted over all slices; not set for fewer than five items."
    )
    verdict: SliceVerdict = Field(description="`lower` and `higher` for a score without a scale.")


class ScoreCorrelation(Answer):
    """The correlation of two scores of the run."""

    first: str
    second: str
    pairs: int
    rho: float = Field(description="Spearman's rank correlation.")
    interval: Interval | None = None


class ExtremeItem(Answer):
    """One of the slowest or most expensive items."""

    item_id: str
    trace_id: str | None = None
    seconds: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    repeat: int | None = None


class DisagreementItem(Answer):
    """An item on which a judge and a human disagree."""

    item_id: str
    judge: str
    judge_value: float
    human: str
    human_value: float
    untrusted_judge_reason: str | None = None
    untrusted_human_comment: str | None = None
    trace_id: str | None = None
    repeat: int | None = None


class SplitVote(Answer):
    """An item on which a judge, asked several times, disagrees with itself."""

    item_id: str
    score: str
    votes: list[float | bool | str] = Field(description="On the judge's own scale.")
    spread: float = Field(description="Highest minus lowest vote on 0-1; for labels, the share outvoted.")


class Analysis(Answer):
    """One run: how its scores are distributed, what fails, and what the failures have in common."""

    backend: Backend
    dataset: str
    run_name: str
    status: RunStatus
    experiment_url: str | None = None
    total_items: int = Field(description="With repeats, results: items times repeats; so are all counts.")
    repeats: int = Field(description="Results per item.")
    succeeded: int
    failed: int
    pending: int
    scores: list[ScoreDistribution] = Field(default_factory=list)
    failures: FailureList
    groups: list[FailureGroup] = Field(
        default_factory=list, description="Errors and failing results, largest first; a result is once in each `by`."
    )
    slices: list[SliceResult] = Field(
        default_factory=list, description="Worst first; only those worth a look unless detail is `full`."
    )
    slices_tested: int = 0
    correlations: list[ScoreCorrelation] = Field(default_factory=list, description="Only those shown to be there.")
    slowest: list[ExtremeItem] = Field(default_factory=list)
    most_expensive: list[ExtremeItem] = Field(
        default_factory=list, description="Empty where no model calls were traced."
    )
    disagreements: list[DisagreementItem] = Field(
        default_factory=list, description="Where judge and human differ most."
    )
    split_votes: list[SplitVote] = Field(
        default_factory=list,
        description="Where a judge differs from itself most; for runs made on this machine with judge_samples.",
    )
    split_votes_total: int = 0
    warnings: list[str] = Field(default_factory=list)
    notice: str = UNTRUSTED_NOTICE
    next: list[NextStep]
