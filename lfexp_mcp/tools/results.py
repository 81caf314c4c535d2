"""What a call's answer, or its error, becomes for the client."""

from mcp.types import CallToolResult, TextContent

from lfexp_mcp.answers.base import Answer, ChartedAnswer, ErrorAnswer, ErrorDetail
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.tools.pages import PAGE_META, page_of

MAX_ERROR_CHARS = 8_000
"""Of an error's message, which may quote an argument or a server's answer of any length."""


def answer_result(answer: Answer, *, has_room: bool = False, with_page: bool = False) -> CallToolResult:
    """Make the result of a call.

    Args:
        answer: What the tool returned.
        has_room: Whether the caller asked for long texts.
        with_page: Whether the client shows pages.
    """
    from lfexp_mcp.reports.answers import report_text
    from lfexp_mcp.services.answer_size import MAX_STRUCTURED_TOKENS, truncate_answer

    # Services keep to it by pages; what stands beside those can be of any size, too.
    answer = truncate_answer(answer, MAX_STRUCTURED_TOKENS["full" if has_room else "summary"])
    result = _result(report_text(answer), answer)
    if with_page and isinstance(answer, ChartedAnswer):
        result.meta = {PAGE_META: page_of(answer)}
    return result


def error_result(error: LfexpError) -> CallToolResult:
    """Make the result of a call that failed."""
    answer = ErrorAnswer(error=ErrorDetail(code=error.code, message=_cut(str(error))), next=[*error.next])
    return _result(error_text(error), answer, is_error=True)


def error_text(error: LfexpError) -> str:
    """Write an error with the calls that help."""
    from lfexp_mcp.reports.layout import step_lines
    from lfexp_mcp.reports.untrusted import paragraph

    return "\n".join([paragraph(_cut(str(error))), *step_lines(error.next)])


def _result(text: str, answer: Answer, *, is_error: bool = False) -> CallToolResult:
    from lfexp_mcp.reports.untrusted import replace_surrogates

    content = {name: replace_surrogates(value) for name, value in answer.model_dump(mode="json").items()}
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=content, is_error=is_error)


def _cut(message: str) -> str:
    """Cut the middle of a long message: its end says what to do."""
    if len(message) <= MAX_ERROR_CHARS:
        return message
    half = MAX_ERROR_CHARS // 2
    return f"{message[:half]}… [{len(message) - 2 * half:,} characters left out] …{message[-half:]}"
