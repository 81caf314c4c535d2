"""The shell's flags: those of a command's request, and the few that commands share."""

import inspect
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import JsonValue
from pydantic.fields import FieldInfo

from lfexp_mcp.errors import UsageError
from lfexp_mcp.services.requests import Request, build
from lfexp_mcp.strict_json import strict_loads

AsJson = Annotated[bool, typer.Option("--json", help="Print the model that the MCP tool returns.")]

LIST_FLAGS = frozenset({"--judges", "--evaluators", "--runs", "--fail-if", "--trace-ids", "--labels", "--write"})
"""Flags that take several values after one another."""


def command(call: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function: its parameter `request` becomes a flag for each field of that `Request`.

    Example:
        @command
        def list_runs(request: ListRunsRequest, as_json: AsJson = False) -> None: ...
    """
    parameters = inspect.signature(call, eval_str=True).parameters
    request_type: type[Request] = parameters["request"].annotation
    fields = request_type.model_fields
    flags = [_flag(name, field) for name, field in fields.items()]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in parameters.items()
        if name != "request"
    ]

    def run(**given: object) -> None:
        asked = {name: _decoded(name, field, given.pop(name)) for name, field in fields.items()}
        call(request=build(request_type, **asked), **given)

    run.__signature__ = inspect.Signature([*flags, *own])  # type: ignore[attr-defined]
    run.__doc__ = call.__doc__
    return run


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """Make the parameter from which Typer makes a flag; what is neither number, bool nor choice is given as text."""
    annotation: Any = next(each for each in _members(field.annotation) if each is not NoneType)
    if get_origin(annotation) is list:
        [member] = get_args(annotation)
        # A list of what no text can state is given as JSON, which its field reads.
        annotation = list[str] if str in (member, *get_args(member)) else str
    elif annotation not in (bool, int, float) and get_origin(annotation) is not Literal:
        annotation = str
    required = field.is_required()
    option = typer.Option(_flag_name(name), help=field.description)
    optional = annotation if required or field.default is not None else annotation | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else field.default,
        annotation=Annotated[optional, option],
    )


def _members(annotation: object) -> tuple[object, ...]:
    """The members of a union, text first, which can state all the others; else the annotation alone."""
    members = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    plain = tuple(get_args(each)[0] if get_origin(each) is Annotated else each for each in members)
    return (str,) if str in plain else plain


def _decoded(name: str, field: FieldInfo, value: object) -> object:
    holds_object = any(get_origin(member) is dict for member in _members(field.annotation))
    if holds_object and isinstance(value, str):
        return json_object(_flag_name(name), value)
    # Typer gives an empty list for a flag that was not given.
    return None if value == [] else value


def _flag_name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def repeat_list_flags(arguments: Sequence[str]) -> list[str]:
    """Repeat a flag before each of its values, as Typer wants it: `--runs a b` becomes `--runs a --runs b`.

    Values end at the next flag; the first value may start with a dash only as `--runs=-a`.
    """
    repeated: list[str] = []
    flag: str | None = None
    has_value = False
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            name, equals, _ = argument.partition("=")
            flag, has_value = (name if name in LIST_FLAGS else None), bool(equals)
        elif flag is not None:
            if has_value:
                repeated.append(flag)
            has_value = True
        repeated.append(argument)
    return repeated


def json_object(flag: str, text: str | None) -> dict[str, JsonValue] | None:
    """Read a flag that takes a JSON object.

    Raises:
        UsageError: It is not one.
    """
    if text is None:
        return None
    try:
        value = strict_loads(text, unique_names=True)
    except ValueError as error:
        raise UsageError(f'{flag} is not JSON ({error}). Pass an object such as \'{{"key": "value"}}\'.') from None
    if not isinstance(value, dict):
        raise UsageError(f'{flag} is not a JSON object. Pass one such as \'{{"key": "value"}}\'.')
    return value
