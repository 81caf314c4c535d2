"""What a tool hands back: an answer twice, for reading and as data, or an error that says what to do."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.errors import LfexpError

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
            raise ToolError(str(error)) from error

        from lfexp_mcp.reports.answers import report_text

        return CallToolResult(
            content=[TextContent(type="text", text=report_text(answer))],
            structured_content=answer.model_dump(mode="json"),
        )

    return shaped
