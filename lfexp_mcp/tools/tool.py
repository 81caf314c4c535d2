"""How a tool is called: its arguments, its time limit, and its result as text and as data, also of an error."""

import inspect
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, cast, get_args

import anyio
from mcp.server.apps import client_supports_apps
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)

from lfexp_mcp.answers.base import Answer, with_notices
from lfexp_mcp.errors import (
    ConfirmationError,
    CursorError,
    LfexpError,
    NotFoundError,
    RunExistsError,
    UnreachableError,
    UsageError,
)
from lfexp_mcp.model import NextStep, ToolName
from lfexp_mcp.services.requests import FilePath, Request, build, check_numbers, refusal
from lfexp_mcp.tools.callers import log_fields
from lfexp_mcp.tools.questions import Questions, notices
from lfexp_mcp.tools.results import answer_result, error_result
from lfexp_mcp.tools.server_log import logged_call
from lfexp_mcp.tools.tasks import create_task, find_run_task, wants_task

MIN_LIMIT_S = 45.0
"""What a call may take that is given no longer wait."""
GRACE_S = 5.0
"""What it may take beyond that."""

_WAIT = TypeAdapter(Annotated[float, Field(ge=0, le=3600)])
_TEXTS = {str, Path, FilePath, NoneType}


class _Arguments(ArgModelBase):
    # A misspelt argument would be dropped otherwise.
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_numbers_for_numbers(cls, given: object) -> object:
        # The request is built of what this reads, and would not see it.
        check_numbers(cls, given)
        return given


class ToolArguments(FuncMetadata):
    """Reads the arguments of a call: those of the function's `Request`, if it takes one, and its others."""

    request_type: Annotated[type[Request] | None, WithJsonSchema(None)] = None

    @classmethod
    def of(cls, call: Callable[..., Awaitable[Answer]], output_schema: dict[str, Any]) -> "ToolArguments":
        """Derive the arguments from a function's signature.

        Args:
            call: The tool's function; its parameter `ctx` is left out.
            output_schema: What the tool publishes of its answers.
        """
        signature = inspect.signature(call, eval_str=True)
        request_type: type[Request] | None = None
        fields: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Request):
                request_type = parameter.annotation
                fields |= {name: (field.annotation, field) for name, field in request_type.model_fields.items()}
            elif parameter.name != "ctx":
                required = parameter.default is parameter.empty
                fields[parameter.name] = (parameter.annotation, ... if required else parameter.default)
        return cls(
            arg_model=create_model(f"{call.__name__}Arguments", __base__=_Arguments, **fields),
            request_type=request_type,
            output_model=signature.return_annotation,
            output_schema=output_schema,
        )

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Parse lists and objects that a client sent as strings, but leave optional texts as they are.

        The SDK parses every string whose argument is not exactly `str`, so that an item id `null` would become None.
        """
        fields = self.arg_model.model_fields
        texts = {name for name in data if name in fields and set(get_args(fields[name].annotation)) <= _TEXTS}
        return data | super().pre_parse_json({name: value for name, value in data.items() if name not in texts})

    async def call_fn(
        self,
        fn: Callable[..., Any],
        fn_is_async: bool,
        arguments: dict[str, Any],
        arguments_to_pass_directly: dict[str, Any] | None = None,
    ) -> object:
        """Call the tool's function with its request; see `FuncMetadata`.

        Raises:
            UsageError: The arguments do not fit together.
        """
        if self.request_type is not None:
            names = self.request_type.model_fields
            request = build(self.request_type, **{name: arguments[name] for name in names})
            arguments = {name: value for name, value in arguments.items() if name not in names} | {"request": request}
        return await super().call_fn(fn, fn_is_async, arguments, arguments_to_pass_directly)


class ExperimentTool(Tool):
    """A tool that returns an `Answer` or raises an `LfexpError`.

    The answer becomes a short text and the structured content that holds everything. An error becomes an error result
    whose structured content is an `ErrorAnswer`. Any other exception is left to the SDK, which logs it and keeps its
    text from the client.
    """

    bounded: bool = True
    """Whether a call ends soon after its `wait_seconds`, or after 45 s, whatever Langfuse does: several clients give up
    at 60 s."""

    whole_by: str | None = None
    """The argument that asks for a single thing, which is then shown whole."""

    _questions: Questions = PrivateAttr(default_factory=Questions)

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> object:
        """Run the tool.

        Returns:
            The `CallToolResult`; or a task, or a question to the user, if the client has them.

        Raises:
            UnexpectedToolError: The tool has a defect.
        """
        request = context.request_context.request
        with logged_call(self.name, log_fields(None if request is None else request.scope)) as returned:
            try:
                result = await self._questions.asked(context, lambda: self._run(arguments, context, convert_result))
            except ConfirmationError as error:
                result = error_result(error)
            returned.append(result)
            return result

    async def _run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool) -> object:
        limit = limit_s(arguments) if self.bounded else math.inf
        as_task = wants_task(context, self.name, arguments)
        try:
            with anyio.move_on_after(limit) as scope:
                answer: Answer = await super().run(arguments | ({"wait_seconds": 0} if as_task else {}), context)
                if as_task and (task := await create_task(context, self.name, arguments, answer)) is not None:
                    return task
        except ToolError as error:
            failure = self._explain(error)
            if isinstance(failure, ConfirmationError):
                raise failure from error
            if as_task and self.name == "run_experiment" and isinstance(failure, RunExistsError):
                task = await find_run_task(context, arguments)
                if task is not None:
                    return task
            failure.next = (*self._corrected(failure, arguments), *failure.next)
            return error_result(failure)
        except LfexpError as error:
            return error_result(error)
        if scope.cancelled_caught:
            again = NextStep(cast("ToolName", self.name), arguments, "Repeat the call in a minute.")
            return error_result(not_in_time(limit, again))
        has_room = arguments.get("detail") == "full" or arguments.get(self.whole_by or "") is not None
        result = answer_result(
            with_notices(answer, notices()), has_room=has_room, with_page=client_supports_apps(context)
        )
        return self.fn_metadata.convert_result(result) if convert_result else result

    def _corrected(self, error: LfexpError, arguments: Mapping[str, JsonValue]) -> Iterator[NextStep]:
        """Yield this very call without its mistake, where the error tells what is meant."""
        tool = cast("ToolName", self.name)
        if isinstance(error, CursorError):
            others = {name: value for name, value in arguments.items() if name != "cursor"}
            yield NextStep(tool, others, "Start over.")
        elif isinstance(error, NotFoundError) and error.near:
            replaced = {name: _replaced(value, error.name, error.near[0]) for name, value in arguments.items()}
            # A name that stands twice may be right in one place.
            if sum(replaced[name] != value for name, value in arguments.items()) == 1:
                yield NextStep(tool, replaced, f"If {error.near[0]!r} is meant.")

    def _explain(self, error: ToolError) -> LfexpError:
        """Return the error of ours that the SDK wrapped, or state in our words which arguments are wrong.

        Raises:
            ToolError: It is neither.
        """
        cause = error.__cause__
        if isinstance(cause, LfexpError):
            return cause
        if isinstance(cause, ValidationError) and not isinstance(error, UnexpectedToolError):
            return UsageError(refusal(cause, self.fn_metadata.arg_model.model_fields))
        raise error


def _replaced(value: JsonValue, name: str | None, right: str) -> JsonValue:
    if isinstance(value, list):
        return [right if each == name else each for each in value]
    return right if value == name else value


def not_in_time(limit: float, *steps: NextStep) -> UnreachableError:
    """Make the error of a call that took `limit` seconds."""
    return UnreachableError(
        f"The call did not end within {limit:.0f} s: Langfuse answers slowly or not at all. A run is read on in the "
        "background. `lfexp-mcp doctor` checks the server.",
        next=steps,
    )


def limit_s(arguments: Mapping[str, object] | None = None) -> float:
    """Return the seconds that a call with these arguments may take."""
    try:
        wait = _WAIT.validate_python((arguments or {}).get("wait_seconds", 0))
    except ValidationError:
        # The call is about to be refused.
        wait = 0
    return max(wait, MIN_LIMIT_S) + GRACE_S
