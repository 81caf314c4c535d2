"""What a tool hands back: an answer twice, for reading and as data, or an error that says what to do."""

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent
from pydantic import ValidationError

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.reports.foreign import as_utf8, paragraph

Arguments = ParamSpec("Arguments")

MIN_LIMIT_S = 45.0
"""What a call may take that is given no longer wait."""
GRACE_S = 5.0
"""What it may take beyond that."""
MAX_ERROR_CHARS = 8_000
"""Of an error's text, which may quote an argument or a server's answer of any length."""


def outcome(
    call: Callable[Arguments, Awaitable[Answer]], *, bounded: bool = True
) -> Callable[Arguments, Awaitable[CallToolResult]]:
    """Shape what a tool returns and raises.

    Args:
        call: Does the tool's work.
        bounded: Whether a call ends soon after its `wait_seconds`, or after 45 s, whatever Langfuse does: several
            clients give up at 60 s.

    The answer becomes a short text and the structured content that holds everything; the SDK checks the latter
    against the answer's model, which it takes from the signature of `call`. An error of ours reaches the model with
    its text; any other is left to the SDK, which logs it and keeps its text from the client.
    """

    @wraps(call)
    async def shaped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> CallToolResult:
        try:
            with anyio.move_on_after(limit := _limit(kwargs) if bounded else math.inf) as scope:
                answer = await call(*args, **kwargs)
        except LfexpError as error:
            raise ToolError(_error_text(str(error))) from error
        if scope.cancelled_caught:
            raise ToolError(
                f"The call did not end within {limit:.0f} s: Langfuse answers slowly, or not at all. A run that was "
                "being read is read on: repeat the call in a minute. `lfexp-mcp doctor` tells about the server."
            )

        from lfexp_mcp.reports.answers import report_text
        from lfexp_mcp.services.answer_size import MAX_STRUCTURED_TOKENS, truncate_answer

        # Services keep to it by pages; what stands beside those can be of any size, too.
        has_room = kwargs.get("detail") == "full" or kwargs.get("item_id") is not None
        answer = truncate_answer(answer, MAX_STRUCTURED_TOKENS["full" if has_room else "summary"])

        return CallToolResult(
            content=[TextContent(type="text", text=report_text(answer))],
            structured_content={name: as_utf8(value) for name, value in answer.model_dump(mode="json").items()},
        )

    return shaped


def _error_text(text: str) -> str:
    """Render an error; a long one loses its middle, since its end says what to do."""
    shown = paragraph(text)
    if len(shown) <= MAX_ERROR_CHARS:
        return shown
    half = MAX_ERROR_CHARS // 2
    return f"{shown[:half]}… [{len(shown) - 2 * half:,} characters left out] …{shown[-half:]}"


def _limit(arguments: Mapping[str, object]) -> float:
    """Seconds that a call with these arguments may take."""
    wait = arguments.get("wait_seconds")
    return max(float(wait) if isinstance(wait, int | float) else 0.0, MIN_LIMIT_S) + GRACE_S


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

            raise ToolError(_error_text(refusal(error.__cause__, self.fn_metadata.arg_model.model_fields))) from error
