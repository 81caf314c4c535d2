"""The error answers of a Langfuse server; validation errors of pydantic are written as zod issues."""

from collections.abc import Sequence
from typing import TypeAlias, get_args

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

Issue: TypeAlias = dict[str, JsonValue]


class ApiError(Exception):
    """An answer other than success.

    Attributes:
        status: The HTTP status.
        body: The JSON body.
    """

    def __init__(self, status: int, body: dict[str, JsonValue]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class NotFoundError(ApiError):
    """404: what the request names does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(404, {"message": message, "error": "LangfuseNotFoundError"})


class ConflictError(ApiError):
    """409: the request contradicts what is stored."""

    def __init__(self, message: str) -> None:
        super().__init__(409, {"message": message, "error": "LangfuseConflictError"})


class BadRequestError(ApiError):
    """400 with a sentence, for errors that are not those of single fields."""

    def __init__(self, message: str) -> None:
        super().__init__(400, {"message": message, "error": "InvalidRequestError"})


class TooLargeError(ApiError):
    """413: the body is too large."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, {"message": f"Body exceeds {limit} bytes", "error": "PayloadTooLargeError"})


class UnauthorizedError(ApiError):
    """401: the keys are missing, or are not those of this store."""

    def __init__(self) -> None:
        super().__init__(401, {"message": "Invalid credentials. Confirm that you've configured the correct host."})


class InvalidRequestError(ApiError):
    """400: fields of the request are wrong; the body lists them as zod issues."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__(400, {"message": "Invalid request data", "error": list(issues)})
        self.issues = issues

    @classmethod
    def at(cls, path: str, message: str) -> "InvalidRequestError":
        """Build the error of one field."""
        return cls([{"code": "custom", "path": [path] if path else [], "message": message}])

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel] | None = None) -> "InvalidRequestError":
        """Convert a validation error of pydantic.

        Args:
            error: The validation error.
            model: The model that was validated; it tells the type of a missing field.
        """
        found = error.errors(include_url=False, include_context=True)
        return cls([_issue(details, model) for details in found])


def _issue(details: ErrorDetails, model: type[BaseModel] | None) -> Issue:
    path: list[JsonValue] = list(details["loc"])
    context = details.get("ctx", {})
    kind = details["type"]
    if kind == "missing":
        return _wrong_type(_expected(path, model), "undefined", path)
    if kind == "less_than_equal":
        limit = context["le"]
        return {"origin": "number", "code": "too_big", "maximum": limit, "inclusive": True, "path": path,
                "message": f"Too big: expected number to be <={limit}"}  # fmt: skip
    if kind == "greater_than_equal":
        limit = context["ge"]
        return {"origin": "number", "code": "too_small", "minimum": limit, "inclusive": True, "path": path,
                "message": f"Too small: expected number to be >={limit}"}  # fmt: skip
    if kind in ("string_too_long", "string_too_short"):
        return _wrong_length(kind == "string_too_long", context, path)
    if kind == "literal_error":
        return _wrong_value(str(context["expected"]), path)
    if kind == "iso_datetime":
        return {"origin": "string", "code": "invalid_format", "format": "datetime", "path": path,
                "message": "Invalid ISO datetime"}  # fmt: skip
    if kind in _EXPECTED:
        return _wrong_type(_EXPECTED[kind], _received(details["input"], kind), path)
    return {"code": "custom", "path": path, "message": details["msg"].removeprefix("Value error, ")}


_EXPECTED = {
    "string_type": "string",
    "int_parsing": "number",
    "int_type": "number",
    "int_from_float": "number",
    "float_parsing": "number",
    "float_type": "number",
    "bool_parsing": "boolean",
    "bool_type": "boolean",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}


def _expected(path: list[JsonValue], model: type[BaseModel] | None) -> str:
    for name, known in model.model_fields.items() if model else ():
        if (known.alias or name) == path[-1]:
            kinds = {known.annotation, *get_args(known.annotation)}
            if list in kinds or getattr(known.annotation, "__origin__", None) is list:
                return "array"
            if kinds & {int, float} and not known.metadata:
                return "number"
    return "string"


def _wrong_type(expected: str, received: str, path: list[JsonValue]) -> Issue:
    return {"expected": expected, "code": "invalid_type", "path": path,
            "message": f"Invalid input: expected {expected}, received {received}"}  # fmt: skip


def _received(value: object, kind: str) -> str:
    if kind.endswith("_parsing"):
        return "NaN" if kind.startswith(("int", "float")) else "string"
    if value is None:
        return "null"
    for python_type, name in ((bool, "boolean"), (int | float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, python_type):
            return name
    return "object"


def _wrong_length(too_long: bool, context: dict[str, JsonValue], path: list[JsonValue]) -> Issue:
    limit = context["max_length" if too_long else "min_length"]
    size, bound, sign = ("big", "maximum", "<=") if too_long else ("small", "minimum", ">=")
    return {"origin": "string", "code": f"too_{size}", bound: limit, "inclusive": True, "path": path,
            "message": f"Too {size}: expected string to have {sign}{limit} characters"}  # fmt: skip


def _wrong_value(expected: str, path: list[JsonValue]) -> Issue:
    values = [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",")]
    if len(values) == 1:
        message = f'Invalid input: expected "{values[0]}"'
    else:
        message = "Invalid option: expected one of " + "|".join(f'"{value}"' for value in values)
    return {"code": "invalid_value", "values": list(values), "path": path, "message": message}
