"""A report as Markdown, for a comment on a pull request or a job's summary."""

import re

from lfexp_mcp.reports.layout import Report, Table, line, table_cells

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#@!~&$])")
_REFERENCE = re.compile(r"([@#])(?=\w)")
"""What GitHub makes a mention or a link of, also after a backslash; an invisible comment in it prevents that."""
_ADDRESS = re.compile(r"(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)
"""What makes an address a link of itself (https://github.github.com/gfm/#autolinks-extension-)."""


def markdown(report: Report) -> str:
    """Write a report as Markdown; what it quotes is escaped, so that it stays text."""
    return "\n\n".join(_table(block) if isinstance(block, Table) else _escaped(line(block)) for block in report.blocks)


def _table(table: Table) -> str:
    rows = [table.columns, ("---",) * len(table.columns), *(tuple(map(_escaped, row)) for row in table_cells(table))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{_escaped(line(table.title))}**", "", *lines] if table.title else lines)


def _escaped(text: str) -> str:
    text = _ADDRESS.sub(lambda found: f"\\{found[0]}", _SPECIAL.sub(r"\\\1", text))
    return _REFERENCE.sub(r"\1<!-- -->", text)
