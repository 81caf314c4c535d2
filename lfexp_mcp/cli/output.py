"""Printing answers: as JSON, as tables on a terminal, or as plain text."""

import sys
from contextlib import suppress

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.cli.next_steps import next_lines
from lfexp_mcp.errors import UsageError
from lfexp_mcp.reports.answers import report_of
from lfexp_mcp.reports.layout import MarkedLine, Report, Table, TextBlock, line, plain, table_cells
from lfexp_mcp.reports.untrusted import escaped_json, one_line, safe_lines


def print_answer(answer: Answer, as_json: bool) -> None:
    """Print an answer.

    Args:
        answer: The answer of a service.
        as_json: Print the model that the tool returns instead of a report.
    """
    if as_json:
        write_line(escaped_json(answer.model_dump_json(indent=2)))
    else:
        show(report_of(answer))


def show(report: Report) -> None:
    """Print a report: with colours and tables on a terminal, as plain text elsewhere."""
    console = Console()
    if not console.is_terminal:
        write_line("\n".join([plain(Report(report.blocks)), *next_lines(report.next)]))
        return
    for block in report.blocks:
        if isinstance(block, Table):
            if block.title:
                # A title that Rich folds into its table could begin a line with a stranger's words.
                console.print(Text(line(block.title), style="bold"), soft_wrap=True)
            console.print(_rich_table(block) if _least_width(block) <= console.width else _stacked(block))
        elif isinstance(block, TextBlock):
            console.print(Text(line(block.heading), style="bold"), soft_wrap=True)
            console.print(Padding(Text("\n".join(safe_lines(block.text))), (0, 0, 0, GAP)))
        else:
            console.print(_styled(block), soft_wrap=True)
    for proposal in next_lines(report.next):
        console.print(Text(proposal, style="cyan"), soft_wrap=True)


def write_line(text: str) -> None:
    """Write to stdout as it is; where that is closed, nowhere.

    Raises:
        UsageError: There is no room for it.
        BrokenPipeError: Its reader has gone.
    """
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None
        raise UsageError(f"The answer cannot be printed ({error.strerror}). What was asked for is done.") from None


def print_note(text: str) -> None:
    """Write a text for people to stderr, on one line."""
    write_note(one_line(text))


def write_note(line: str) -> None:
    """Write a line to stderr as it is, if that can be written to: the exit code tells programs the same."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(line + "\n")


SHORT_CELL = 16
"""Columns up to this width (in characters) do not wrap, so that no figure is cut."""
GAP = 2


def _least_width(table: Table) -> int:
    """Return the width that a terminal needs to show the short columns of a table without wrapping."""
    return sum(min(_longest(table, place), SHORT_CELL) + GAP for place in range(len(table.columns)))


def _longest(table: Table, place: int) -> int:
    return max(len(row[place]) for row in (table.columns, *table.rows))


def _stacked(table: Table) -> Group:
    """Show each row of a table as a block of lines, for narrow terminals."""
    lines: list[Text | RichTable] = []
    for row in table_cells(table):
        shown = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
        shown.add_column(style="dim", no_wrap=True)
        shown.add_column(overflow="fold")
        for name, text in zip(table.columns, row, strict=True):
            if text:
                shown.add_row(Text(name), _cell(text))
        lines += [shown, Text("")]
    return Group(*lines)


def _cell(text: str) -> Text:
    return Text(text, style=_STYLES.get(text, ""))


def _rich_table(table: Table) -> RichTable:
    # Text objects: Rich would read brackets in a cell as markup.
    shown = RichTable(box=SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0))
    for place, name in enumerate(table.columns):
        shown.add_column(Text(name), overflow="fold", no_wrap=_longest(table, place) <= SHORT_CELL)
    for row in table_cells(table):
        shown.add_row(*(_cell(text) for text in row))
    return shown


_STYLES = {
    "better": "green",
    "worse": "bold red",
    "inconclusive": "yellow",
    "failed": "red",
    "completed": "green",
    "stopped": "green",
    "ok": "green",
    "broken": "bold red",
}


def _styled(block: str | MarkedLine) -> Text:
    warns = isinstance(block, MarkedLine) and block.mark == "Warning"
    return Text(line(block), style="yellow" if warns else "")
