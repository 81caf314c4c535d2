"""What all requests have in common: their base, the arguments that several share, and what says that one is wrong."""

import difflib
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails

from lfexp_mcp.errors import UsageError
from lfexp_mcp.services.answer_size import Detail

DatasetName = Annotated[str, Field(min_length=1, description="Langfuse dataset.")]
RunName = Annotated[str, Field(min_length=1, description="Run of that dataset.")]
ScoreName = Annotated[str | None, Field(description="Only this score.")]
Cursor = Annotated[str | None, Field(description="`next_cursor` of the previous answer.")]
PageSize = Annotated[int, Field(ge=1, le=100, description="Entries in a page.")]
ListSize = Annotated[int, Field(ge=1, le=100, description="Items listed in each group.")]
ShownDetail = Annotated[Detail, Field(description="`summary` cuts long texts and states their length.")]
FilePath = Annotated[Path, WithJsonSchema({"type": "string"})]
ScriptPath = Annotated[FilePath | None, Field(description="Path of a .py file.")]


def _written_out(given: object) -> object:
    """Refuse a number, which does not say whether it counts seconds or milliseconds, also as text."""
    if isinstance(given, datetime) or (isinstance(given, str) and "-" in given):
        return given
    raise ValueError("write a time in ISO 8601, such as 2026-05-01 or 2026-05-01T08:00:00+02:00")


def _in_utc(given: datetime) -> datetime:
    """Take a time without a zone as UTC."""
    try:
        moment = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
        _ = moment + timedelta(days=1)
    except OverflowError:
        raise ValueError(f"{given} is outside the range of times that can be searched") from None
    return moment


Moment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Refuse a span of time that holds nothing.

    Raises:
        ValueError: It does not begin before its end.
    """
    if since is not None and until is not None and since >= until:
        raise ValueError("since is not before until")


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_numbers_for_numbers(cls, given: object) -> object:
        check_numbers(cls, given)
        return given


def check_numbers(model: type[BaseModel], given: object) -> None:
    """Refuse a truth value for a number, such as `max_cost: true`, which would be 1 USD.

    Raises:
        ValueError: There is one.
    """
    for name, value in given.items() if isinstance(given, dict) else ():
        field = model.model_fields.get(name)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        if isinstance(value, bool) and bool not in kinds and not {int, float}.isdisjoint(kinds):
            raise ValueError(f"{name}: {str(value).lower()} is not a number")


def from_json(given: object) -> object:
    """Read a list or object from JSON text, as the shell and some clients give it.

    Raises:
        ValueError: The text is not JSON.
    """
    if not isinstance(given, str):
        return given
    try:
        parsed: object = json.loads(given)
    except (ValueError, RecursionError):
        raise ValueError('pass JSON, such as {"level": "ERROR"} or [{"name": "short", "params": {"k": 3}}]') from None
    return parsed


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
