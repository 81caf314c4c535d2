"""Reports on what people wrote, on their labels, and on judges that were checked by these."""

from lfexp_mcp.answers.annotations import AnnotationComments
from lfexp_mcp.answers.labels import JudgeCheck, LabelsAnswer
from lfexp_mcp.model import Estimate
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


def labels_report(answer: LabelsAnswer) -> Report:
    """Report on how far the labels of a draw are."""
    lines = [
        f"Annotation queue: {answer.queue}",
        (
            f"{answer.drawn} of {answer.population} results were drawn, {answer.labelled} of them are labelled; "
            f"{answer.random} labels in the order of the draw correct means."
        ),
    ]
    if answer.void:
        lines.append(f"The labels correct nothing as they are. {answer.void}")
    return Report((*lines, f"Stored in {answer.backend}", *warnings(answer.warnings)), answer.next)


def judge_check_report(answer: JudgeCheck) -> Report:
    """Report on a check: how far the judge moved, how near it is to people, and how far the application moved."""
    lines = [
        f"{answer.now.judge} against {answer.then.judge}, on {answer.anchors} anchors: {answer.status}"
        + (f", {answer.unreadable} without a verdict" if answer.unreadable else "")
    ]
    if answer.shift is not None:
        lines.append(
            f"The judge moved by {_moved(answer.shift)}: {answer.verdict}; {answer.newly_pass} newly pass, "
            f"{answer.newly_fail} newly fail."
        )
    if answer.application_shift is not None:
        lines.append(f"Since the baseline, the application moved by {_moved(answer.application_shift)}.")
    if answer.self_disagreement is not None:
        lines.append(f"Two votes of it on one output differ by {number(answer.self_disagreement)} on average.")
    if answer.position_bias is not None:
        lines.append(f"Position bias, first minus second: {_moved(answer.position_bias)}.")
    rows = [(which.judge, number(which.agreement), number(which.bias)) for which in (answer.then, answer.now)]
    people = table(("judge", "agrees with people", "minus people"), rows) if answer.now.agreement is not None else ()
    cost = (f"Cost: {answer.cost_usd:.4f} USD.",) if answer.cost_usd is not None else ()
    return Report((*lines, *people, *cost, *warnings(answer.warnings)), answer.next)


def _moved(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} (95% {estimate.low:+.3f} to {estimate.high:+.3f})"
