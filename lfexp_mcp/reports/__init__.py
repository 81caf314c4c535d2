"""Answers as people read them: a few lines and tables, the same for the tools' text and for the shell."""

from lfexp_mcp.reports.answers import report_of, report_text
from lfexp_mcp.reports.layout import Report, Table, cell, one_line, plain
from lfexp_mcp.reports.runs import progress_line

__all__ = ["Report", "Table", "cell", "one_line", "plain", "progress_line", "report_of", "report_text"]
