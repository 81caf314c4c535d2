"""What humans wrote and scored: what `fetch_annotation_comments` answers."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, Answer, Backend
from lfexp_mcp.model import Interval, NextStep

CommentSource = Literal["score", "trace", "observation", "session"]
"""What a comment is on."""
ThemeKind = Literal["found", "named"]
AgreementMeasure = Literal["kappa", "weighted kappa", "Spearman"]


class AnnotatedComment(Answer):
    """One comment, and what it is on."""

    id: str = Field(description="Id of the score, or of the comment.")
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
    queue_id: str | None = None
    trace_url: str | None = None


class Quote(Answer):
    """An excerpt of a comment."""

    comment_id: str
    untrusted_text: str


class CommentTheme(Answer):
    """A topic that several comments mention."""

    name: str = Field(description="Its most frequent wording, or the name the caller gave.")
    kind: ThemeKind
    terms: list[str] = Field(description="The wordings counted.")
    comments: int
    of: int
    summary: str = Field(description="Such as `7 of 11 comments`.")
    share: float
    mean_score: float | None = Field(default=None, description="Mean on 0-1 of the scores given with these comments.")
    mean_score_others: float | None = Field(default=None, description="The same for the other comments.")
    quotes: list[Quote]
    comment_ids: list[str] = Field(description="The first of the comments counted.")


class DifferingItem(Answer):
    """An item that judge and human score differently."""

    item_id: str
    judge_value: float
    human_value: float
    trace_id: str | None = None


class RateAnswer(Answer):
    """A share with its 95% interval."""

    hits: int
    of: int
    share: float | None = None
    interval: Interval | None = None


class JudgeAgreement(Answer):
    """How far a judge agrees with the human scores of the same items."""

    judge: str
    human: str = Field(description="Name of the human score.")
    run_name: str
    pairs: int
    measure: AgreementMeasure | None = Field(default=None, description="Not set for too few pairs.")
    value: float | None = None
    interval: Interval | None = None
    agreement: float | None = Field(default=None, description="Share of items that both pass or both fail.")
    true_positive_rate: RateAnswer = Field(description="Of the items that the human passes, those the judge passes.")
    false_positive_rate: RateAnswer = Field(description="Of the items that the human fails, those the judge passes.")
    pass_mark: float
    summary: str
    differing: int
    differ_on: list[DifferingItem] = Field(description="The largest differences first.")


class AnnotationComments(Answer):
    """Human comments, their themes, and how judges agree with human scores."""

    paged = frozenset({"comments"})

    backend: Backend
    scope: str = Field(description="Which comments were asked for.")
    total: int
    comments: list[AnnotatedComment] = Field(description="Newest first.")
    next_cursor: str | None = None
    themes: list[CommentTheme] = Field(description="Over all comments in scope, not only this page.")
    agreement: list[JudgeAgreement] = Field(description="Set for a run.")
    notice: str = UNTRUSTED_NOTICE
    warnings: list[str]
    next: list[NextStep]
