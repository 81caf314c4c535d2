"""How a tool is called: its time limit, and its result as text and as data, also where it is an error."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, cast

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent
from pydantic import Field, TypeAdapter, ValidationError

from lfexp_mcp.answers.base import Answer, ErrorAnswer, ErrorDetail
from lfexp_mcp.errors import LfexpError, UnreachableError, UsageError
from lfexp_mcp.model import NextStep, ToolName

MIN_LIMIT_S = 45.0
"""What a call may take that is given no longer wait."""
GRACE_S = 5.0
"""What it may take beyond that."""
MAX_ERROR_CHARS = 8_000
"""Of an error's message, which may quote an argument or a server's answer of any length."""

_WAIT = TypeAdapter(Annotated[float, Field(ge=0, le=3600)])


class ExperimentTool(Tool):
    """A tool that returns an `Answer` or raises an `LfexpError`.

    The answer becomes a short text and the structured content that holds everything. An error becomes an error result
    whose structured content is an `ErrorAnswer`. Any other exception is left to the SDK, which logs it and keeps its
    text from the client.
    """

    bounded: bool = True
    """Whether a call ends soon after its `wait_seconds`, or after 45 s, whatever Langfuse does: several clients give up
    at 60 s."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> object:
        """Run the tool.

        Returns:
            The `CallToolResult`.

        Raises:
            UnexpectedToolError: The tool has a defect.
        """
        limit = _limit_s(arguments) if self.bounded else math.inf
        try:
            with anyio.move_on_after(limit) as scope:
                answer: Answer = await super().run(arguments, context)
        except ToolError as error:
            return error_result(self._explain(error))
        if scope.cancelled_caught:
            return error_result(
                UnreachableError(
                    f"The call did not end within {limit:.0f} s: Langfuse answers slowly or not at all. A run that was "
                    "being read is read on in the background. `lfexp-mcp doctor` checks the server.",
                    next=[NextStep(cast("ToolName", self.name), arguments, "Repeat the call in a minute.")],
                )
            )
        has_room = arguments.get("detail") == "full" or arguments.get("item_id") is not None
        result = answer_result(answer, has_room=has_room)
        return self.fn_metadata.convert_result(result) if convert_result else result

    def _explain(self, error: ToolError) -> LfexpError:
        """Return the error of ours that the SDK wrapped, or state in our words which arguments are wrong.

        Raises:
            ToolError: It is neither.
        """
        cause = error.__cause__
        if isinstance(cause, LfexpError):
            return cause
        if isinstance(cause, ValidationError) and not isinstance(error, UnexpectedToolError):
            from lfexp_mcp.services.requests import refusal

            return UsageError(refusal(cause, self.fn_metadata.arg_model.model_fields))
        raise error


def answer_result(answer: Answer, *, has_room: bool = False) -> CallToolResult:
    """Make the result of a call.

    Args:
        answer: What the tool returned.
        has_room: Whether the caller asked for long texts.
    """
    from lfexp_mcp.reports.answers import report_text
    from lfexp_mcp.services.answer_size import MAX_STRUCTURED_TOKENS, truncate_answer

    # Services keep to it by pages; what stands beside those can be of any size, too.
    answer = truncate_answer(answer, MAX_STRUCTURED_TOKENS["full" if has_room else "summary"])
    return _result(report_text(answer), answer)


def error_result(error: LfexpError) -> CallToolResult:
    """Make the result of a call that failed."""
    from lfexp_mcp.reports.foreign import paragraph
    from lfexp_mcp.reports.layout import step_lines

    message = _cut(str(error))
    answer = ErrorAnswer(error=ErrorDetail(code=error.code, message=message), next=[*error.next])
    return _result("\n".join([paragraph(message), *step_lines(error.next)]), answer, is_error=True)


def _result(text: str, answer: Answer, *, is_error: bool = False) -> CallToolResult:
    from lfexp_mcp.reports.foreign import as_utf8

    content = {name: as_utf8(value) for name, value in answer.model_dump(mode="json").items()}
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=content, is_error=is_error)


def _cut(message: str) -> str:
    """Cut the middle of a long message: its end says what to do."""
    if len(message) <= MAX_ERROR_CHARS:
        return message
    half = MAX_ERROR_CHARS // 2
    return f"{message[:half]}… [{len(message) - 2 * half:,} characters left out] …{message[-half:]}"


def _limit_s(arguments: Mapping[str, object]) -> float:
    """Seconds that a call with these arguments may take."""
    try:
        wait = _WAIT.validate_python(arguments.get("wait_seconds", 0))
    except ValidationError:
        # The call is about to be refused.
        wait = 0
    return max(wait, MIN_LIMIT_S) + GRACE_S
