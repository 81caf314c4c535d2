"""A report as Markdown, for a comment on a pull request or a job's summary."""

import re

from lfexp_mcp.reports.foreign import lines_of
from lfexp_mcp.reports.layout import Block, Passage, Report, Table, line, table_cells

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#@!~&$])")
_REFERENCE = re.compile(r"([@#])(?=\w)")
"""What GitHub makes a mention or a link of, also after a backslash; an invisible comment in it prevents that."""
_ADDRESS = re.compile(r"(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)
"""What makes an address a link of itself (https://github.github.com/gfm/#autolinks-extension-)."""


def markdown(report: Report) -> str:
    """Write a report as Markdown; what it quotes is escaped, so that it stays text."""
    return "\n\n".join(map(_block, report.blocks))


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Passage):
        quoted = (f"> {_escaped(text.strip())}" for text in lines_of(block.text))
        return "\n".join([f"**{_escaped(line(block.heading))}**", "", *quoted])
    return _escaped(line(block))


def _table(table: Table) -> str:
    rows = [table.columns, ("---",) * len(table.columns), *(tuple(map(_escaped, row)) for row in table_cells(table))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{_escaped(line(table.title))}**", "", *lines] if table.title else lines)


def _escaped(text: str) -> str:
    text = _ADDRESS.sub(lambda found: f"\\{found[0]}", _SPECIAL.sub(r"\\\1", text))
    return _REFERENCE.sub(r"\1<!-- -->", text)
