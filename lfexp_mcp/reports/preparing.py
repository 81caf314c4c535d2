"""Reports on what was put into Langfuse."""

from lfexp_mcp.answers.definitions import DatasetAnswer, JudgeAnswer
from lfexp_mcp.reports.layout import Report, warnings


def dataset_report(answer: DatasetAnswer) -> Report:
    """Report on a dataset made or added to."""
    return Report(
        (
            f"Dataset {answer.dataset!r} has {answer.total_items} items; {answer.stored} stored by this call.",
            f"Stored in {answer.backend.kind} Langfuse: {answer.backend.url}",
            *warnings(answer.warnings),
        ),
        answer.next,
    )


def judge_report(answer: JudgeAnswer) -> Report:
    """Report on a judge made or given a new version."""
    labels = f", labels {', '.join(answer.labels)}" if answer.labels else ""
    return Report(
        (
            f"Judge {answer.judge!r} is at version {answer.version}{labels}; it gives score {answer.score_name!r}.",
            f"Scale {answer.scale} ({answer.scale_source}); filled with {', '.join(answer.placeholders) or 'nothing'}.",
            *warnings(answer.warnings),
        ),
        answer.next,
    )
