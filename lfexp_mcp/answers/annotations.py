"""What humans wrote and scored: what `fetch_annotation_comments` answers."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, ToolAnswer
from lfexp_mcp.model import Estimate, Interval

CommentSource = Literal["score", "trace", "observation", "session"]
"""What a comment is on."""
AgreementMeasure = Literal["kappa", "weighted kappa", "Spearman"]


class AnnotatedComment(Answer):
    """One comment, and what it is on."""

    id: str
    kind: CommentSource
    untrusted_text: str
    author: str | None = None
    created: datetime | None = None
    score_name: str | None = None
    value: float | bool | str | None = Field(default=None, description="The human's score, as stored.")
    run_name: str | None = None
    item_id: str | None = None
    trace_id: str | None = None
    observation_id: str | None = None
    session_id: str | None = None


class Quote(Answer):
    """An excerpt of a comment."""

    comment_id: str
    untrusted_text: str


class CommentTheme(Answer):
    """A topic that several comments mention."""

    name: str = Field(description="Its most frequent wording, or the caller's name.")
    terms: list[str]
    comments: int = Field(description="Those that mention it.")
    mean_score: float | None = Field(default=None, description="On 0-1, of the scores given with these.")
    mean_score_others: float | None = None
    quotes: list[Quote]


class DifferingItem(Answer):
    """An item that judge and human score differently."""

    item_id: str
    judge_value: float
    human_value: float


class RateAnswer(Answer):
    """A share with its 95% interval."""

    hits: int
    of: int
    share: float | None = None
    interval: Interval | None = None


class JudgeAgreement(Answer):
    """How far a judge agrees with the human scores of the same items."""

    judge: str
    human: str
    pairs: int
    measure: AgreementMeasure | None = None
    value: float | None = None
    interval: Interval | None = None
    agreement: float | None = Field(default=None, description="Share that both pass or both fail.")
    ac1: Estimate | None = None
    """Gwet's, on pass and fail."""
    true_positive_rate: RateAnswer = Field(description="Passed by the judge, of those that the human passes.")
    false_positive_rate: RateAnswer = Field(description="The same, of those that the human fails.")
    summary: str
    differing: int
    differ_on: list[DifferingItem] = Field(default_factory=list)


class AnnotationComments(ToolAnswer):
    """Human comments, their themes, and how judges agree with human scores."""

    paged = frozenset({"comments"})

    scope: str
    total: int
    comments: list[AnnotatedComment] = Field(default_factory=list, description="Newest first.")
    next_cursor: str | None = None
    themes: list[CommentTheme] = Field(default_factory=list, description="Over all comments, not only this page.")
    agreement: list[JudgeAgreement] = Field(default_factory=list, description="Of judges with humans, for a run.")
    notice: str = UNTRUSTED_NOTICE
