"""Requests built from what a caller gave."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

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
        wrong = "; ".join(_sentence(details["loc"], details["msg"]) for details in error.errors(include_input=False))
        raise UsageError(f"The call cannot be carried out: {wrong}.") from None


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ").removesuffix(".")
    where = ".".join(str(part) for part in location)
    return f"{where}: {message}" if where else message
