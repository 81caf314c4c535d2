"""The argument `traces`: which production traces a caller means."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

MAX_CHARS = 1000
EXPERIMENT_ENVIRONMENT = "sdk-experiment"

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARS, pattern=r"^[^\x00]*$")]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=50)]


def _one_or_more(given: object) -> object:
    """Take a text as a list of one, whatever signs it holds."""
    return (given,) if isinstance(given, str) else given


def _moment(given: object) -> object:
    """Refuse a number, which does not say whether it counts seconds or milliseconds, also as text."""
    if isinstance(given, str) and "-" in given:
        return given
    if isinstance(given, datetime):
        return given
    raise ValueError("write a time in ISO 8601, such as 2026-05-01 or 2026-05-01T08:00:00+02:00")


Moment = Annotated[datetime, BeforeValidator(_moment)]


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

    @field_validator("since", "until")
    @classmethod
    def _with_zone(cls, given: datetime | None) -> datetime | None:
        """Take a time without a zone as UTC."""
        if given is None:
            return None
        try:
            moment = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
            _ = moment + timedelta(days=1)
        except OverflowError:
            raise ValueError(f"{given} is outside the range of times that can be searched") from None
        return moment

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
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since is not before until")
        return self

    def __str__(self) -> str:
        """Describe it, such as `name=chat, level=ERROR`."""
        given = self.model_dump(mode="json", exclude_none=True)
        below = given.pop("below", None)
        score = given.pop("score", None)
        parts = [f"{key}={'+'.join(value) if isinstance(value, list) else value}" for key, value in given.items()]
        return ", ".join([*parts, *([f"{score} below {below}"] if score else [])]) or "no condition"


def _from_text(given: object) -> object:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise ValueError('pass an object such as {"name": "chat", "level": "ERROR"}') from None


TracesArgument = Annotated[TraceFilter | None, BeforeValidator(_from_text), WithJsonSchema({"type": "object"})]
"""A filter, or its JSON. The argument's description names its fields, in fewer tokens than a schema takes."""
