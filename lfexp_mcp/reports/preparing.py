"""Reports on what was put into Langfuse."""

from lfexp_mcp.answers.dataset import DatasetAnswer
from lfexp_mcp.reports.layout import Report
from lfexp_mcp.reports.steps import next_lines


def dataset_report(answer: DatasetAnswer) -> Report:
    """Report on a dataset made or added to."""
    return Report(
        (
            f"Dataset {answer.dataset!r} has {answer.total_items} items; {answer.stored} stored by this call.",
            f"Stored in {answer.backend.kind} Langfuse: {answer.backend.url}",
            *(f"Warning: {warning}" for warning in answer.warnings),
            *next_lines(answer.next),
        )
    )
