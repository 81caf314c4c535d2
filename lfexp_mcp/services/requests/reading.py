"""Requests that read runs, datasets, judges and comments, and those about labels."""

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from lfexp_mcp.services.requests.base import (
    Cursor,
    DatasetName,
    ListSize,
    Moment,
    PageSize,
    Request,
    RunName,
    ScoreName,
    ShownDetail,
    check_span,
)

if TYPE_CHECKING:
    from lfexp_mcp.scores.limits import Limit

ResultKind = Literal["failed", "errored", "unscored", "pending"]
"""`errored`: the task raised or timed out; `failed`: that, or a score is below the pass mark; `unscored`: an evaluator
or judge failed."""
ResultOrder = Literal["slowest", "costliest", "lowest"]


class ListRunsRequest(Request):
    """A page of a dataset's runs."""

    dataset: DatasetName
    limit: PageSize = 20
    cursor: Cursor = None


class ListDatasetsRequest(Request):
    """A page of the project's datasets."""

    limit: PageSize = 20
    cursor: Cursor = None


class GetDatasetRequest(Request):
    """A dataset with a page of its items."""

    dataset: DatasetName
    limit: PageSize = 10
    cursor: Cursor = None
    detail: ShownDetail = "summary"


class ListJudgesRequest(Request):
    """A page of the project's judges, or one of them."""

    judge: str | None = Field(
        default=None, min_length=1, description="Only this one, whole: named as in `judges` of run_experiment."
    )
    limit: PageSize = 20
    cursor: Cursor = None


class ResultFilter(Request):
    """Which results of a run are meant, and in what order."""

    which: ResultKind | None = Field(
        default=None,
        description="`failed`: errored, or a score is below the pass mark; `unscored`: a score is missing.",
    )
    score_name: str | None = Field(default=None, description="The score that `which`, `below` and `lowest` are about.")
    below: float | str | None = Field(default=None, description="Items that score lower: 0.5, `80%`, `4/5`.")
    where: str | None = Field(default=None, description="Condition on metadata, such as `level in [1, 2]`.")
    sort: ResultOrder | None = Field(default=None, description="What comes first, instead of the order of the run.")

    @model_validator(mode="after")
    def _has_one_meaning(self) -> "ResultFilter":
        if self.which is not None and self.below is not None:
            raise ValueError("pass either which or below: `failed` takes the pass mark as limit")
        if self.score_name is not None and self.which in ("errored", "pending") and self.sort != "lowest":
            raise ValueError(f"a result is {self.which} whatever the score: omit score_name")
        if self.score_name is not None and (self.which, self.below, self.sort) == (None, None, None):
            raise ValueError("score_name chooses nothing by itself: pass below, which or sort too")
        if self.where is not None:
            from lfexp_mcp.services.metadata_conditions import parse_conditions

            parse_conditions(self.where)
        if self.below is not None:
            from lfexp_mcp.scores.limits import parse_limit

            if not parse_limit(str(self.below)).value > 0:
                raise ValueError(f"no score lies below {self.below}")
        return self

    @property
    def digest(self) -> str:
        """Tells filters apart, for cursors; empty for the one that leaves all results in the order of the run."""
        asked = self.model_dump(include=set(ResultFilter.model_fields), exclude_defaults=True)
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8] if asked else ""


class _RunPage(Request):
    dataset: DatasetName
    run_name: RunName
    item_id: str | None = Field(default=None, description="Only this item, whole, with what its task did (trace).")
    limit: PageSize = 20
    cursor: Cursor = None
    wait_seconds: float = Field(
        default=0, ge=0, le=3600, description="Seconds to wait for completion; 45 is a good wait."
    )
    detail: ShownDetail = "summary"


class GetRunRequest(ResultFilter, _RunPage):
    """A run with a page of its items."""

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "GetRunRequest":
        if self.item_id is not None and (self.digest or self.cursor is not None):
            raise ValueError("an item is shown by itself: pass item_id without a filter, sort or cursor")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the service: what chooses and sorts results goes together."""
        names = ResultFilter.model_fields
        return {name: value for name, value in self if name not in names} | {"results": self}


class CancelRunRequest(Request):
    """A run to cancel."""

    dataset: DatasetName
    run_name: RunName


class CompareRequest(Request):
    """What to compare, and what to conclude from."""

    dataset: DatasetName
    runs: list[str] = Field(min_length=2, description="Run names; the first is the baseline.")
    baseline: str | None = Field(default=None, description="Another baseline among them.")
    score_name: ScoreName = None
    primary_score: str | None = Field(default=None, description="Judge it unadjusted for other scores.")
    min_delta: float | None = Field(
        default=None, gt=0, le=1, description="Smallest difference of means (0-1) that matters to you."
    )
    fail_if: list[str] | None = Field(
        default=None,
        description="What fails a run: `accuracy<0.8`, `accuracy.delta<-0.02`, `error_rate>5%`, `accuracy.worse`, "
        "`worse`. On 0-1 with 1 best, or `quality<4/5` on the score's own scale. A partial run passes none.",
    )
    limit: ListSize = 10
    cursor: str | None = Field(default=None, description="`next_cursor` of one of the `changes`, to go on in it.")
    detail: ShownDetail = "summary"

    @model_validator(mode="after")
    def _names_fit_together(self) -> "CompareRequest":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("runs: a run is named twice; name two different runs")
        if self.baseline is not None and self.baseline not in self.runs:
            raise ValueError(f"baseline: {self.baseline!r} is not among the runs to compare")
        if None not in (self.primary_score, self.score_name) and self.primary_score != self.score_name:
            raise ValueError(f"score_name: only {self.score_name!r} is compared, without the primary score")
        return self


class AnalyzeRequest(Request):
    """What to explain."""

    dataset: DatasetName
    run_name: RunName
    show_failures: bool = Field(
        default=False, description="List the failing items whole, with inputs, outputs and reasons."
    )
    score_name: ScoreName = None
    score_threshold: float | str | None = Field(
        default=None,
        description="An item fails below it: 0-1, `80%`, or `4/5` on the own scale of `score_name`.",
    )
    limit: ListSize = 10
    cursor: Cursor = None
    detail: ShownDetail = "summary"

    @field_validator("score_threshold")
    @classmethod
    def _is_a_limit(cls, given: float | str | None) -> float | str | None:
        from lfexp_mcp.scores.limits import parse_limit

        if given is not None and parse_limit(str(given)).value < 0:
            raise ValueError(f"{given} lies below every score; write 0.8, 80%, or 4/5 on a score's own scale")
        return given

    @model_validator(mode="after")
    def _names_the_score_of_its_scale(self) -> "AnalyzeRequest":
        if self.score_name is None and not self.limit_of_scores.is_canonical:
            raise ValueError(
                f"score_threshold: {self.score_threshold} is on one score's own scale: name its score_name"
            )
        return self

    @property
    def limit_of_scores(self) -> "Limit":
        """The threshold."""
        from lfexp_mcp.scores.limits import PASS_MARK, Limit, parse_limit

        return Limit(PASS_MARK) if self.score_threshold is None else parse_limit(str(self.score_threshold))


class CommentsRequest(Request):
    """Whose comments to fetch, and about what."""

    score_name: str | None = Field(default=None, description="Comments of this score only.")
    dataset: str | None = Field(default=None, description="With run_name: comments on that run's items.")
    run_name: str | None = Field(default=None, description="Run of that dataset.")
    trace_ids: list[str] | None = Field(default=None, min_length=1, description="Comments on these traces.")
    queue: str | None = Field(default=None, description="Annotation queue, by name or id.")
    author: str | None = Field(default=None, description="User id of who wrote them.")
    since: Moment | None = Field(default=None, description="Written at or after, ISO 8601.")
    until: Moment | None = Field(default=None, description="Written before, ISO 8601.")
    limit: int = Field(default=50, ge=1, le=500, description="Comments in a page.")
    cursor: Cursor = None
    themes: dict[str, list[str]] | None = Field(
        default=None, description='Themes to count beside those found, such as `{"tone": ["rude", "curt"]}`.'
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "CommentsRequest":
        if self.run_name is not None and self.dataset is None:
            raise ValueError("run_name: name the dataset of the run too")
        check_span(self.since, self.until)
        empty = next((name for name, terms in (self.themes or {}).items() if not any(map(str.strip, terms))), None)
        if empty is not None:
            raise ValueError(f"themes: theme {empty!r} has no words; give some, such as ['rude', 'curt']")
        return self


class LabelsRequest(Request):
    """Which results people are to label."""

    dataset: DatasetName
    run_name: RunName
    score_name: str = Field(description="The judge's score.")
    n: int | None = Field(default=None, ge=1, le=1000, description="Draw so many in all; at first 50.")
    stratify: bool = Field(default=False, description="Half of them failed, half passed.")


class JudgeCheckRequest(Request):
    """Which judge to ask again, and about what."""

    dataset: DatasetName
    run_name: RunName
    score_name: str = Field(description="The judge's score.")
    judge: str | None = Field(default=None, description="Such as `judge-tone:4`; else as it is now.")
    baseline: str | None = Field(default=None, description="Earlier run whose labels are the anchors.")
    votes: int = Field(default=1, ge=1, le=20, description="Per anchor.")
    max_cost: float | None = Field(default=None, gt=0, description="USD.")
