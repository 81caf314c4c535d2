"""Reports of lines, tables and texts, and their form as plain text and as Markdown; `reports.page` has that as HTML."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeGuard

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import SliceResult
from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.model import Interval, NextStep
from lfexp_mcp.reports.charts import TONES, Chart, Strip, axes_of_differences, drawable, drawable_interval
from lfexp_mcp.reports.untrusted import Mark, json_text, one_line, quote_mark, safe_lines

ROWS = (50, 20, 10, 5, 2)
"""Rows kept per table if the whole text is too long."""
LEFT_OUT = "The text is cut here; the structured content goes on."
CELL_WIDTH = 60
"""Characters shown of free text in a cell."""
LARGE = 1e9
"""From here on, a number is shown by its digits that matter and its size."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#@!~&$])")
_AT_START = re.compile(r"^(\s*(?:\d+(?=[.)]))?)([-+=/.)])(?!\d)")
"""What makes a list, a heading or a rule of a line, and a command of some bots."""
_REFERENCE = re.compile(r"([@#]|\bGH-)(?=\w)", re.IGNORECASE)
"""What GitHub makes a mention or a link of, also after a backslash; an invisible comment in it prevents that."""
_ADDRESS = re.compile(r"(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)
"""What makes an address a link of itself (https://github.github.com/gfm/#autolinks-extension-)."""


class Cell(str):
    """The text of a cell, with what a page has room for beside it."""

    __slots__ = ("link", "whole")
    whole: str
    """All of a text that is shortened; what to say where there is no value."""
    link: str | None
    """An address to open."""

    def __new__(cls, text: str, whole: str | None = None, link: str | None = None) -> Self:
        """Make it; `whole` is the text itself unless given."""
        made = super().__new__(cls, text)
        made.whole = text if whole is None else whole
        made.link = link
        return made


UNKNOWN = Cell("", "unknown")
"""A number that is not known."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column names."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""
    heading: str = ""
    """What a page calls a table that needs no title among lines of text."""
    chart: Chart | None = None
    """A drawing of the rows, for pages."""


@dataclass(frozen=True, slots=True)
class MarkedLine:
    """A line that a reader acts on, with its mark."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        """The whole line."""
        return one_line(f"{self.mark}: {self.text}")


@dataclass(frozen=True, slots=True)
class TextBlock:
    """An untrusted text shown whole, under a heading."""

    heading: str
    text: str


Block = str | MarkedLine | Table | TextBlock
"""A line, several as a table, or a text."""


def warnings(texts: Iterable[str]) -> Iterator[MarkedLine]:
    """Make a line of each warning of an answer."""
    return (MarkedLine("Warning", text) for text in texts)


@dataclass(frozen=True, slots=True)
class Report:
    """An answer for readers, top to bottom."""

    blocks: tuple[Block, ...]
    next: Sequence[NextStep] = ()
    """The calls that make sense now."""
    title: str = ""
    """What a page is called."""
    source: str = ""
    """Where the results are stored."""


def part_of_dataset(part: str | None) -> tuple[str, ...]:
    """Say that a run is about a part of its dataset."""
    return (f"Part of the dataset: {part}.",) if part is not None else ()


def table(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str = "", chart: Chart | None = None
) -> tuple[Block, ...]:
    """Make a table; nothing where it has no rows."""
    return (Table(columns, rows, title, chart=chart),) if rows else ()


def more(next_cursor: str | None) -> tuple[Block, ...]:
    """State the cursor of a further page, if there is one."""
    return (f"There are more: cursor {next_cursor!r}.",) if next_cursor else ()


def charts(page: str | None) -> tuple[str, ...]:
    """Say where a page draws the answer."""
    return (f"Charts for people: {page}",) if page else ()


def cell(value: JsonValue, width: int = CELL_WIDTH) -> Cell:
    """Put a value on one line.

    Args:
        value: Text as it is; anything else as JSON.
        width: Characters to show; a longer text ends in an ellipsis.
    """
    text = value if isinstance(value, str) else "" if value is None else json_text(value)
    line = one_line(text[: width * 4])
    return Cell(line if len(line) <= width else line[: width - 1] + "…", one_line(text))


def results(total: int, repeats: int) -> str:
    """Say how many results a run has, such as `12 items`, or `36 results of 12 items x 3`."""
    return f"{total} items" if repeats == 1 else f"{total} results of {-(-total // repeats)} items x {repeats}"


def repeated(item_id: str, repeat: int | None) -> str:
    """Name a result: by its item, and its repetition where there are several."""
    return item_id if repeat is None else f"{item_id} (repeat {repeat})"


def number(value: float | None) -> str:
    """Show a number with four significant digits; nothing for one that is not known."""
    return f"{value + 0.0:.4g}" if is_known(value) else UNKNOWN


def is_known(value: float | None) -> TypeGuard[float]:
    """Whether there is a value, and it is a number."""
    return value is not None and math.isfinite(value)


def change(before: float | None, after: float | None) -> str:
    """Show how a number changed, such as `0.5 -> 0.75`; nothing where neither is known."""
    if not is_known(before) and not is_known(after):
        return UNKNOWN
    return " -> ".join(number(value) or "unknown" for value in (before, after))


def signed(value: float | None) -> str:
    """Show a difference with its sign; nothing for one that is not known."""
    return _places(value, 4, "+") if is_known(value) else UNKNOWN


def interval(value: Interval | None, *, of_difference: bool = False) -> str:
    """Show an interval, one of a difference with signs; nothing for one that is not known."""
    ends = _ends(value, of_difference=of_difference)
    return f"[{', '.join(ends)}]" if ends else UNKNOWN


def _ends(value: Interval | None, *, of_difference: bool) -> list[str]:
    if value is None or not all(map(is_known, value)):
        return []
    return [_places(end, 3, "+" if of_difference else "") for end in value]


def _places(value: float, digits: int, sign: str) -> str:
    """Round to places, but never to a zero with a sign, or to one on the other side of which the value lies."""
    if not value:
        return f"{0:.{digits}f}"
    if abs(value) >= LARGE:
        return f"{value:{sign}.4g}"
    return f"{value:{sign}.{digits}f}" if round(value, digits) else f"{value:{sign}.1g}"


def probability(value: float | None) -> str:
    """Show a p-value, on its side of 0.05; nothing for one that is not known."""
    if not is_known(value):
        return UNKNOWN
    if value < 1e-4:
        return "<0.0001"
    shown = f"{value:.2g}"
    return "<0.05" if value < 0.05 <= float(shown) else shown


def spoken(what: str, value: float | None, around: Interval | None = None, *, of_difference: bool = False) -> str:
    """Say what is drawn of a number and its interval, for those who hear it: a sign or bracket may be left unread."""
    shown = signed(value) if of_difference else number(value)
    ends = _ends(around, of_difference=of_difference)
    words = f"{what} {shown or 'unknown'}, {f'from {ends[0]} to {ends[1]}' if ends else 'interval unknown'}."
    return re.sub(r"(?<![\w.])[+-](?=\d)", lambda sign: "plus " if sign[0] == "+" else "minus ", words)


def strips_of_differences(differences: Sequence[ScoreComparison | SliceResult], what: str) -> list[Strip]:
    """Draw differences with their intervals about a marked zero; see `axes_of_differences`.

    Args:
        differences: One per row.
        what: What they are, for those who hear it.
    """
    axes = axes_of_differences((each.score, (each.delta, *(each.interval or ()))) for each in differences)
    return [
        Strip(
            axes[each.score],
            spoken(what, each.delta, each.interval, of_difference=True),
            TONES.get(each.verdict, "neutral"),
            value=drawable(each.delta),
            interval=drawable_interval(each.interval),
            reference=0.0,
        )
        for each in differences
    ]


def score_value(value: float | bool | str | None, width: int = CELL_WIDTH) -> str:
    """Show the value of a score: a number with four significant digits, true or false, or a label on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(value, width) if isinstance(value, str) else number(value)


def plain(report: Report, limit: int | None = None) -> str:
    """Lay a report out as text without colours, columns aligned by spaces, the next steps as calls of tools.

    Args:
        report: What to lay out.
        limit: Characters that it may take; longer tables lose rows, and then the last lines before the next steps.
    """
    steps = step_lines(report.next)
    for rows in (None, *ROWS):
        lines = [_plain_block(block, rows) for block in report.blocks]
        if limit is None or sum(map(len, lines)) + sum(map(len, steps)) <= limit:
            break
    else:
        lines = [f"{chr(10).join(lines)[:limit]}…", LEFT_OUT]
    return "\n".join([*lines, *steps])


def _plain_block(block: Block, rows: int | None) -> str:
    if isinstance(block, Table):
        return _plain_table(block, rows)
    if isinstance(block, TextBlock):
        return "\n".join([quote_mark(block.heading), *(f"  {text}" for text in safe_lines(block.text))])
    return line(block)


def line(block: str | MarkedLine) -> str:
    """Put a block other than a table on one line."""
    return str(block) if isinstance(block, MarkedLine) else quote_mark(block)


def table_cells(table: Table) -> list[tuple[str, ...]]:
    """Return the rows of a table as they are to be shown."""
    return [tuple(map(quote_mark, row)) for row in table.rows]


def step_lines(steps: Iterable[NextStep]) -> list[str]:
    """Write each step as a call of a tool, such as `Next: list_runs(dataset="faq"): See which runs there are.`."""
    return [f"Next: {step_call(step)}: {one_line(step.why)}" for step in steps]


def step_call(step: NextStep) -> str:
    """Write a step as the call of a tool."""
    arguments = (f"{name}={json_text(value)}" for name, value in step.arguments.items())
    return f"{step.tool}({', '.join(arguments)})"


def _plain_table(table: Table, most: int | None) -> str:
    """Lay a table out; rows are indented, so that no line begins with a cell."""
    cells = table_cells(table)
    rows = [table.columns, *cells[:most]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ["  ".join(("", *map(str.ljust, row, widths))).rstrip() for row in rows]
    lines += (
        [f"  ({len(cells) - most} further rows are in the structured content.)"]
        if most is not None and most < len(cells)
        else []
    )
    return "\n".join([f"{quote_mark(table.title)}:", *lines] if table.title else lines)


def markdown(report: Report) -> str:
    """Write a report as Markdown; what it quotes is escaped, so that it stays text."""
    return "\n\n".join(map(_markdown_block, report.blocks))


def _markdown_block(block: Block) -> str:
    if isinstance(block, Table):
        return _markdown_table(block)
    if isinstance(block, TextBlock):
        quoted = (f"> {_escaped(text.strip())}" for text in safe_lines(block.text))
        return "\n".join([f"**{_escaped(line(block.heading))}**", "", *quoted])
    return _escaped(line(block))


def _markdown_table(table: Table) -> str:
    rows = [table.columns, ("---",) * len(table.columns), *(tuple(map(_escaped, row)) for row in table_cells(table))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{_escaped(line(table.title))}:**", "", *lines] if table.title else lines)


def _escaped(text: str) -> str:
    text = _ADDRESS.sub(lambda found: f"\\{found[0]}", _SPECIAL.sub(r"\\\1", text))
    return _REFERENCE.sub(r"\1<!-- -->", _AT_START.sub(r"\1\\\2", text))
