"""Report on what people wrote."""

from lfexp_mcp.answers.annotations import AnnotationComments
from lfexp_mcp.reports.layout import Block, Report, cell, more, number, score_value, table, warnings


def comments_report(answer: AnnotationComments) -> Report:
    """Report on comments: themes first, then the comments, then how judges agree with people."""
    return Report(
        (
            f"{answer.total} comments ({answer.scope}).",
            *_themes(answer),
            *_comments(answer),
            *(agreement.summary for agreement in answer.agreement),
            answer.notice,
            *warnings(answer.warnings),
        ),
        answer.next,
    )


def _themes(answer: AnnotationComments) -> tuple[Block, ...]:
    rows = [
        (
            cell(theme.name, 30),
            f"{theme.comments} of {answer.total} comments",
            number(theme.mean_score),
            number(theme.mean_score_others),
            cell(" | ".join(quote.untrusted_text for quote in theme.quotes), 100),
        )
        for theme in answer.themes
    ]
    return table(("theme", "in", "mean score", "others", "quotes"), rows, "Themes")


def _comments(answer: AnnotationComments) -> tuple[Block, ...]:
    rows = [
        (
            f"{comment.created:%Y-%m-%d}" if comment.created else "",
            comment.author or "",
            "" if comment.score_name is None else f"{comment.score_name} {score_value(comment.value, 30)}",
            comment.item_id or comment.trace_id or comment.session_id or "",
            cell(comment.untrusted_text, 100),
        )
        for comment in answer.comments
    ]
    return (*table(("day", "author", "score", "on", "comment"), rows, "Comments"), *more(answer.next_cursor))
