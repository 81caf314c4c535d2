"""What the services are asked for: each argument with its description, default and bounds.

The tools' input schemas and the shell's flags derive from these models.
"""

import difflib
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import ErrorDetails

from lfexp_mcp.errors import UsageError
from lfexp_mcp.services.answer_size import Detail

if TYPE_CHECKING:
    from lfexp_mcp.scores.limits import Limit

DatasetName = Annotated[str, Field(min_length=1, description="Langfuse dataset.")]
RunName = Annotated[str, Field(min_length=1, description="Run of that dataset.")]
ScoreName = Annotated[str | None, Field(description="Only this score.")]
Cursor = Annotated[str | None, Field(description="`next_cursor` of the previous answer.")]
PageSize = Annotated[int, Field(ge=1, le=100, description="Entries in a page.")]
ListSize = Annotated[int, Field(ge=1, le=100, description="Items listed in each group.")]
ShownDetail = Annotated[Detail, Field(description="`summary` cuts long texts and states their length.")]
FilePath = Annotated[Path, WithJsonSchema({"type": "string"})]


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


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
    since: datetime | None = Field(default=None, description="Written at or after, ISO 8601.")
    until: datetime | None = Field(default=None, description="Written before, ISO 8601.")
    limit: int = Field(default=50, ge=1, le=500, description="Comments in a page.")
    cursor: Cursor = None
    themes: dict[str, list[str]] | None = Field(
        default=None, description='Themes to count beside those found, such as `{"tone": ["rude", "curt"]}`.'
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "CommentsRequest":
        if self.run_name is not None and self.dataset is None:
            raise ValueError("run_name: name the dataset of the run too")
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


R = TypeVar("R", bound=BaseModel)


def build(model: type[R], /, **arguments: object) -> R:
    """Build a service's request.

    Args:
        model: The request's model.
        **arguments: Its fields; one that is None takes the model's default.

    Raises:
        UsageError: A value that the service cannot work with; the text names the argument.
    """
    try:
        return model.model_validate({name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        raise UsageError(refusal(error, model.model_fields)) from None


def refusal(error: ValidationError, names: Collection[str]) -> str:
    """Say which arguments of a call are wrong, and how.

    Args:
        error: What checking them raised.
        names: The known arguments.
    """
    wrong = "; ".join(_sentence(details, names) for details in error.errors(include_input=False))
    return f"The call cannot be carried out: {wrong}."


def _sentence(details: ErrorDetails, names: Collection[str]) -> str:
    where = ".".join(str(part) for part in details["loc"])
    match details["type"]:
        case "extra_forbidden" if len(details["loc"]) == 1:
            near = difflib.get_close_matches(where, names, n=1, cutoff=0.5)
            known = f"the nearest is {near[0]}" if near else f"the arguments are {', '.join(names)}"
            return f"there is no argument {where}: {known}"
        case "extra_forbidden":
            return f"there is no key {where}"
        case "missing":
            return f"{where} is missing"
        case _:
            message = details["msg"].removeprefix("Value error, ").removesuffix(".")
            return f"{where}: {message}" if where else message
