"""A report as Markdown, for a comment on a pull request or a job's summary."""

import re

from lfexp_mcp.reports.layout import Report, Table, one_line

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#@!~])")


def markdown(report: Report) -> str:
    """Write a report as Markdown; what it quotes is escaped, so that it stays text."""
    return "\n\n".join(_table(block) if isinstance(block, Table) else _escaped(block) for block in report.blocks)


def _table(table: Table) -> str:
    rows = [table.columns, ("---",) * len(table.columns), *(tuple(map(_escaped, row)) for row in table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{_escaped(table.title)}**", "", *lines] if table.title else lines)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", one_line(text))
