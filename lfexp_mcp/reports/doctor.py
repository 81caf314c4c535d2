"""Report on what was looked at."""

from lfexp_mcp.answers.doctor import Diagnosis
from lfexp_mcp.reports.layout import Report, Table


def diagnosis_report(answer: Diagnosis) -> Report:
    """Report on a diagnosis: what was found, and what to do about it."""
    rows = [(check.name, check.status, check.found, check.advice or "") for check in answer.checks]
    verdict = "lfexp-mcp can work." if answer.healthy else "lfexp-mcp cannot work yet: see what is broken."
    return Report((Table(("check", "status", "found", "what to do"), rows), verdict))
