"""Requests to collect items: what a caller means by `traces`, and what `create_dataset` takes of traces and runs."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lfexp_mcp.model import ItemChoice
from lfexp_mcp.services.requests.base import Moment, Request, check_span, from_json
from lfexp_mcp.services.requests.items import is_condition, parse_choice

DEFAULT_SAMPLE_SIZE = 10
MAX_SAMPLE_SIZE = 1000
MAX_CHARS = 1000
WORDS_FOR_RESULTS: Mapping[str, Literal["failed", "errored"]] = {
    "failing": "failed",
    "failed": "failed",
    "failures": "failed",
    "errored": "errored",
    "errors": "errored",
}

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARS, pattern=r"^[^\x00]*$")]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=50)]


def _one_or_more(given: object) -> object:
    """Take a text as a list of one, whatever signs it holds."""
    return (given,) if isinstance(given, str) else given


class TraceFilter(BaseModel):
    """Production traces: those that meet every condition that is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text | None = None
    """The trace's, or its root's where the trace has none."""
    tags: Annotated[Texts, BeforeValidator(_one_or_more)] | None = None
    """All of them."""
    user: Text | None = None
    session: Text | None = None
    environment: Annotated[Texts, BeforeValidator(_one_or_more)] | None = None
    """Any of them."""
    where: Text | None = None
    """Conditions on the root's metadata; see `metadata_conditions`."""
    since: Moment | None = None
    """Began at this time or after."""
    until: Moment | None = None
    """Began before."""
    score: Text | None = None
    below: float | str | None = None
    """The limit for `score`, such as 0.5, `50%`, or `3/5` on the score's scale."""
    has_comment: Literal[True] | None = None
    """On the trace, or on an observation in it."""
    level: Literal["ERROR", "WARNING"] | None = None
    """Of any observation in it."""

    @model_validator(mode="before")
    @classmethod
    def _says_what_it_names(cls, given: object) -> object:
        """Refuse null, as of a variable that was not filled in: it would mean everybody."""
        empty = [str(key) for key, value in given.items() if value is None] if isinstance(given, dict) else []
        if empty:
            raise ValueError(f"{', '.join(empty)} is null: give a value, or leave it out")
        return given

    @field_validator("level", mode="before")
    @classmethod
    def _in_capitals(cls, given: object) -> object:
        return given.upper() if isinstance(given, str) else given

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, given: str | None) -> str | None:
        if given is not None:
            from lfexp_mcp.services.metadata_conditions import parse_conditions

            parse_conditions(given)
        return given

    @field_validator("environment")
    @classmethod
    def _is_production(cls, given: Sequence[str] | None) -> Sequence[str] | None:
        from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT

        if EXPERIMENT_ENVIRONMENT in (given or ()):
            raise ValueError("experiments' own traces are not production; collect from a run instead")
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> "TraceFilter":
        from lfexp_mcp.scores.limits import parse_limit

        if (self.score is None) is not (self.below is None):
            raise ValueError("score and below belong together: name the score, and below which limit it is")
        if self.below is not None and not parse_limit(str(self.below)).value > 0:
            raise ValueError(f"no score lies below {self.below}")
        check_span(self.since, self.until)
        return self

    def __str__(self) -> str:
        """Describe it, such as `name=chat, level=ERROR`."""
        given = self.model_dump(mode="json", exclude_none=True)
        below = given.pop("below", None)
        score = given.pop("score", None)
        parts = [f"{key}={'+'.join(value) if isinstance(value, list) else value}" for key, value in given.items()]
        return ", ".join([*parts, *([f"{score} below {below}"] if score else [])]) or "no condition"


TracesArgument = Annotated[TraceFilter | None, BeforeValidator(from_json), WithJsonSchema({"type": "object"})]
"""A filter, or its JSON. The argument's description names its fields, in fewer tokens than a schema takes."""


class CollectRequest(Request):
    """What to collect into a dataset: items of a run, or production traces; without either, nothing."""

    dataset: str | None = Field(default=None, description="Of `from_run`.")
    from_run: str | None = Field(default=None, description="Copy this run's items, linked to its traces.")
    only: JsonValue = Field(
        default=None,
        description='Which of them: `failing` (score below 0.7, or error), `errored`, `{"score": "tone", "below": '
        '"3/5"}`, or as `items` of run_experiment.',
    )
    traces: TracesArgument = Field(
        default=None,
        description="Copy the newest production traces with all of: `name`, `tags`, `user`, `session`, `environment`, "
        "`where` (on metadata: `plan=pro`), `since`, `until`, `score` and `below`, `has_comment` (true), `level` "
        '("ERROR", of any observation).',
    )
    sample_size: int = Field(default=DEFAULT_SAMPLE_SIZE, ge=1, le=MAX_SAMPLE_SIZE, description="How many `traces`.")

    @property
    def collects(self) -> bool:
        """Whether anything is to be collected."""
        return self.from_run is not None or self.traces is not None

    @property
    def choice(self) -> ItemChoice:
        """Which items of the run.

        Raises:
            ValueError: `only` cannot be read.
        """
        only = self.only.strip() if isinstance(self.only, str) else self.only
        if isinstance(only, str) and (only.startswith(("{", "[")) or only.isdecimal()):
            only = json.loads(only)
        word = only.casefold() if isinstance(only, str) else None
        if only is None or word in ("all", "*"):
            return ItemChoice()
        if word is not None and word in WORDS_FOR_RESULTS:
            only = {"which": WORDS_FOR_RESULTS[word]}
        if isinstance(only, dict):
            if only.get("run", self.from_run) != self.from_run:
                raise ValueError(f"it is about run {only['run']!r}, and from_run names {self.from_run!r}")
            by_result = only.keys() & {"which", "score", "below"}
            return parse_choice({**only, "run": self.from_run} if by_result else only) or ItemChoice()
        if isinstance(only, str) and not is_condition(only):
            words = ", ".join(f"`{word}`" for word in WORDS_FOR_RESULTS)
            raise ValueError(f"{only!r} is not {words}, `all`, a condition on metadata or a list of ids")
        return parse_choice(only) or ItemChoice()

    @model_validator(mode="after")
    def _fits_together(self) -> "CollectRequest":
        if self.from_run is not None and self.traces is not None:
            raise ValueError("pass either from_run or traces: items come from one of them")
        if self.from_run is not None and not self.dataset:
            raise ValueError("from_run: name the dataset of the run too, as `dataset`")
        if self.from_run is None and (self.dataset is not None or self.only is not None):
            raise ValueError("dataset and only are about a run: name it as `from_run`")
        if self.traces is None and self.sample_size != DEFAULT_SAMPLE_SIZE:
            raise ValueError("sample_size needs traces; `only` takes a number of a run's items")
        try:
            _ = self.choice
        except (ValueError, RecursionError) as error:
            raise ValueError(f"only: {error}") from None
        return self
