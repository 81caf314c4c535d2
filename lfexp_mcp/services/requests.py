"""Requests built from what a caller gave."""

import difflib
from collections.abc import Collection
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lfexp_mcp.errors import UsageError

Request = TypeVar("Request", bound=BaseModel)


def build(model: type[Request], /, **arguments: object) -> Request:
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
        names: The arguments that there are.
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
            return f"{where} is none of the keys that it can have"
        case "missing":
            return f"{where} is missing"
        case _:
            message = details["msg"].removeprefix("Value error, ").removesuffix(".")
            return f"{where}: {message}" if where else message
