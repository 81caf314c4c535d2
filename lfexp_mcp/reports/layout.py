"""Lines and tables, and their plain form."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.answers.base import NextStep
from lfexp_mcp.reports.foreign import Mark, json_text, one_line, quoted_mark

CELL_WIDTH = 60
"""Characters that a cell of free text shows."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with a head, and rows of text."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A line that a reader acts on; the only block that may begin with its mark."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        """The whole line."""
        return one_line(f"{self.mark}: {self.text}")


Block = str | Notice | Table
"""A line, or several as a table."""


def warnings(texts: Iterable[str]) -> Iterator[Notice]:
    """Make a line of each warning of an answer."""
    return (Notice("Warning", text) for text in texts)


@dataclass(frozen=True, slots=True)
class Report:
    """What one answer says, top to bottom."""

    blocks: tuple[Block, ...]
    next: Sequence[NextStep] = ()
    """The calls that make sense now."""


def cell(value: JsonValue, width: int = CELL_WIDTH) -> str:
    """Put a value on one line.

    Args:
        value: Text as it is; anything else as JSON.
        width: Characters to show; a longer text ends in an ellipsis.
    """
    text = value if isinstance(value, str) else "" if value is None else json_text(value)
    line = one_line(text[: width * 4])
    return line if len(line) <= width else line[: width - 1] + "…"


def results(total: int, repeats: int) -> str:
    """Say how many results a run has, such as `12 items`, or `36 results of 12 items x 3`."""
    return f"{total} items" if repeats == 1 else f"{total} results of {-(-total // repeats)} items x {repeats}"


def repeated(item_id: str, repeat: int | None) -> str:
    """Name a result: by its item, and its repetition where there are several."""
    return item_id if repeat is None else f"{item_id} (repeat {repeat})"


def number(value: float | None) -> str:
    """Show a number with four significant digits; nothing for None."""
    return "" if value is None else f"{value:.4g}"


def score_value(value: float | bool | str | None, width: int = CELL_WIDTH) -> str:
    """Show the value of a score: a number with four significant digits, true or false, or a label on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(value, width) if isinstance(value, str) else number(value)


def plain(report: Report) -> str:
    """Lay a report out as text without colours, columns aligned by spaces, the next steps as calls of tools."""
    lines = [_plain_table(block) if isinstance(block, Table) else line(block) for block in report.blocks]
    return "\n".join([*lines, *(f"Next: {_call(step)}: {one_line(step.why)}" for step in report.next)])


def line(block: str | Notice) -> str:
    """Put a block that is no table on a line."""
    return str(block) if isinstance(block, Notice) else quoted_mark(block)


def table_cells(table: Table) -> list[tuple[str, ...]]:
    """Return the rows of a table as they are to be shown."""
    return [tuple(map(quoted_mark, row)) for row in table.rows]


def _call(step: NextStep) -> str:
    arguments = (f"{name}={json_text(value)}" for name, value in step.arguments.items())
    return f"{step.tool}({', '.join(arguments)})"


def _plain_table(table: Table) -> str:
    """Lay a table out; its rows are indented, so that no cell begins a line."""
    rows = [table.columns, *table_cells(table)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ["  ".join(("", *map(str.ljust, row, widths))).rstrip() for row in rows]
    return "\n".join([quoted_mark(table.title), *lines] if table.title else lines)
