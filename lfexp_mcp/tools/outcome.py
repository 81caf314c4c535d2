"""What a tool hands back: an answer twice, for reading and as data, or an error that says what to do."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent
from pydantic import ValidationError

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.reports.foreign import as_utf8, paragraph

Arguments = ParamSpec("Arguments")


def outcome(call: Callable[Arguments, Awaitable[Answer]]) -> Callable[Arguments, Awaitable[CallToolResult]]:
    """Shape what a tool returns and raises.

    The answer becomes a short text and the structured content that holds everything; the SDK checks the latter
    against the answer's model, which it takes from the signature of `call`. An error of ours reaches the model with
    its text; any other is left to the SDK, which logs it and keeps its text from the client.
    """

    @wraps(call)
    async def shaped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> CallToolResult:
        try:
            answer = await call(*args, **kwargs)
        except LfexpError as error:
            raise ToolError(paragraph(str(error))) from error

        from lfexp_mcp.reports.answers import report_text

        return CallToolResult(
            content=[TextContent(type="text", text=report_text(answer))],
            structured_content={name: as_utf8(value) for name, value in answer.model_dump(mode="json").items()},
        )

    return shaped


class OfferedTool(Tool):
    """A tool that says in our words which of its arguments are wrong, instead of in Pydantic's."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> object:
        """Run the tool, as the SDK does.

        Raises:
            ToolError: As the SDK's own, with the arguments explained where they are wrong.
        """
        try:
            return await super().run(arguments, context, convert_result)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise

            from lfexp_mcp.services.requests import refusal

            raise ToolError(paragraph(refusal(error.__cause__, self.fn_metadata.arg_model.model_fields))) from error
