"""One run explained: what `analyze_run` answers."""

from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, ChartedAnswer
from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.answers.run import ItemAnswer
from lfexp_mcp.model import Interval, RunStatus

SliceVerdict = Literal[
    "worse",
    "better",
    "lower",
    "higher",
    "not shown to differ",
    "too few items",
]


class ScoreDistribution(Answer):
    """One score of the run, and how its values are distributed."""

    name: str
    mean: float | None = None
    display: str
    interval: Interval | None = Field(default=None, description="95%, of the mean.")
    count: int
    unscored: int = 0
    quantiles: dict[str, float] = Field(default_factory=dict, description="Of values that do more than pass or fail.")
    histogram: list[int] = Field(
        default_factory=list, description="In equal bins over 0-1; from min to max without a scale."
    )
    failing: int | None = Field(default=None, description="Below the threshold; not set without a scale.")
    corrected: Corrected | None = None


class FailureList(Answer):
    """The failing items, lowest first; with repeats, each failing result."""

    paged = frozenset({"items"})

    total: int
    items: list[ItemAnswer] = Field(default_factory=list)
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
    delta: float
    interval: Interval | None = None
    p_adjusted: float | None = Field(
        default=None, description="By Holm, over all slices; not set for fewer than five items."
    )
    verdict: SliceVerdict = Field(description="`lower`, `higher`: the score has no scale.")


class ScoreCorrelation(Answer):
    """The correlation of two scores of the run."""

    first: str
    second: str
    pairs: int
    rho: float = Field(description="Spearman's.")
    interval: Interval | None = None


class ExtremeItem(Answer):
    """One of the slowest or most expensive items."""

    item_id: str
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
    repeat: int | None = None


class SplitVote(Answer):
    """An item on which a judge, asked several times, disagrees with itself."""

    item_id: str
    score: str
    votes: list[float | bool | str] = Field(description="On the judge's scale.")
    spread: float = Field(description="Highest minus lowest on 0-1; of labels, the share outvoted.")


class Analysis(ChartedAnswer):
    """One run: how its scores are distributed, what fails, and what the failures have in common."""

    dataset: str
    run_name: str
    status: RunStatus
    experiment_url: str | None = None
    part: str | None = None
    total_items: int
    repeats: int = 1
    succeeded: int
    failed: int = 0
    pending: int = 0
    threshold: float = Field(description="An item fails with a score below it, on 0-1.")
    scores: list[ScoreDistribution] = Field(default_factory=list)
    failures: FailureList
    groups: list[FailureGroup] = Field(
        default_factory=list, description="Errors and failing results, largest first; a result is once in each `by`."
    )
    slices: list[SliceResult] = Field(default_factory=list, description="Worst first; all of them with detail `full`.")
    slices_tested: int = 0
    correlations: list[ScoreCorrelation] = Field(default_factory=list, description="Only those shown to be there.")
    slowest: list[ExtremeItem] = Field(default_factory=list)
    most_expensive: list[ExtremeItem] = Field(default_factory=list, description="Of traced model calls.")
    disagreements: list[DisagreementItem] = Field(default_factory=list, description="Of judges with humans.")
    split_votes: list[SplitVote] = Field(
        default_factory=list, description="Of a judge with itself, in runs of this machine."
    )
    split_votes_total: int = 0
    notice: str = UNTRUSTED_NOTICE
