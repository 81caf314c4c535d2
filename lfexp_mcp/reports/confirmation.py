"""Report on a run confirmed on held-out items."""

from lfexp_mcp.answers.confirmation import ConfirmAnswer
from lfexp_mcp.reports.layout import Report, number, warnings


def confirmation_report(answer: ConfirmAnswer) -> Report:
    """Report on a confirmation: the verdict, how sure it is, and what was stated beforehand."""
    needed = "an unknown number" if answer.items_needed is None else answer.items_needed
    baseline, run = answer.code
    lines = [
        (
            f"Run {run!r} against {baseline!r} by {answer.score_name!r} on {answer.held_out} held-out items, look "
            f"{answer.look}: {answer.verdict or answer.status}"
        ),
        answer.reason,
        f"Planned: to show a difference of {answer.min_delta:g} takes {needed} items with power 0.8.",
        f"Code: {', '.join(f'{name!r} {version}' for name, version in answer.code.items())}.",
    ]
    if answer.delta is not None and answer.interval is not None:
        figures = f"{answer.delta:+.2f} ({answer.interval.low:+.2f} to {answer.interval.high:+.2f})"
        lines.insert(2, f"Difference, rounded: {figures}, adjusted p at most {number(answer.p_adjusted)}.")
    return Report((*lines, *warnings(answer.warnings)), answer.next)
