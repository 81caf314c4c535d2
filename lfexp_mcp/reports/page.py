"""Reports as a page: one file that holds no script and loads nothing, and the view of MCP Apps that shows one.

Every text is escaped by Jinja, after it has been made safe to display as in all other forms of a report. A strict
Content Security Policy stands in the page itself, so that not even a mistake here could run or load anything.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lfexp_mcp import __version__
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.reports.charts import TONES, Chart, Strip, Tone
from lfexp_mcp.reports.layout import UNKNOWN, Block, Cell, MarkedLine, Report, Table, TextBlock, line, number, step_call
from lfexp_mcp.reports.untrusted import Mark, json_text, one_line, quote_mark, replace_surrogates, safe_lines

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
TITLE = "lfexp-mcp"
LONG_TEXT = 200
"""Characters of a cell from which its text is folded."""
LONG_WORD = 16
"""Characters from which a word may be broken, so that no name makes a table wider than its page."""
_FIGURE = re.compile(r"[-+<>\[\]()\d.,/%e ]*(inf|nan)?|unknown( -> .*)?|.* -> unknown")
"""What is aligned as a number."""
_FIRST: tuple[Mark, ...] = ("Gate", "Warning", "Note")
_SAID = {"verdict", "check", "status"}
"""Columns whose texts are ours, and have a colour."""
_NAMES = {"run", "score", "item"}
"""Columns of names, which differ by blanks and invisible characters, too."""


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    is_figure: bool
    tone: Tone | None = None
    link: str | None = None

    @property
    def is_long(self) -> bool:
        return len(self.text) > LONG_TEXT

    @property
    def has_long_word(self) -> bool:
        return max(map(len, self.text.split()), default=0) > LONG_WORD

    @property
    def beginning(self) -> str:
        return self.text[: LONG_TEXT // 2].rstrip() + "…"


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    is_figure: bool = False
    is_chart: bool = False


@dataclass(frozen=True, slots=True)
class _Grid:
    """A table and its drawing, row by row."""

    heading: str
    columns: list[_Column]
    rows: list[list[_Cell | Strip]]
    chart: Chart | None

    def ends_axis(self, row: int) -> bool:
        """Whether the next row is drawn on another axis, so that this one's ticks are written below it."""
        strips = self.chart.strips if self.chart else ()
        return row + 1 >= len(strips) or strips[row].axis != strips[row + 1].axis


def page(report: Report) -> str:
    """Write a report as an HTML document."""
    blocks = [_grid(block) if isinstance(block, Table) else block for block in _ordered(report.blocks)]
    made = f"lfexp-mcp {__version__}, {CLOCK.now():%Y-%m-%d %H:%M} UTC"
    html = _document(report.title or TITLE, blocks=blocks, report=report, made=made)
    return str(replace_surrogates(html))


def _ordered(blocks: Sequence[Block]) -> Sequence[Block]:
    """Put what decides or limits a result before its figures."""
    start = next((place for place, block in enumerate(blocks) if isinstance(block, Table)), len(blocks))
    marked = [block for block in blocks[start:] if isinstance(block, MarkedLine)]
    others = [block for block in blocks[start:] if not isinstance(block, MarkedLine)]
    return [*blocks[:start], *sorted(marked, key=lambda block: _FIRST.index(block.mark)), *others]


def view() -> str:
    """Write the document that a client of MCP Apps opens once, and which then shows the page of each result."""
    return _document(TITLE, script=_asset("view.js"))


def _document(title: str, script: str = "", **content: object) -> str:
    style = _asset("page.css")
    policy = f"default-src 'none'; style-src {_digest(style)}; base-uri 'none'; form-action 'none'"
    policy += f"; script-src {_digest(script)}" if script else ""
    return _template().render(title=one_line(title), style=style, script=script, policy=policy, **content).strip()


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"line": line, "one_line": one_line, "safe_lines": safe_lines, "call": step_call}
    environment.tests |= {
        "grid": lambda block: isinstance(block, _Grid),
        "marked": lambda block: isinstance(block, MarkedLine),
        "text_block": lambda block: isinstance(block, TextBlock),
        "strip": lambda cell: isinstance(cell, Strip),
    }
    environment.globals["tick_label"] = _tick_label
    return environment.get_template("page.html")


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _grid(table: Table) -> _Grid:
    columns = [
        _Column(one_line(name), _are_figures([row[place] for row in table.rows]))
        for place, name in enumerate(table.columns)
    ]
    rows: list[list[_Cell | Strip]] = [list(_cells(columns, row)) for row in table.rows]
    chart = table.chart
    if chart is not None:
        stands_in = slice(chart.place, chart.place + chart.replaces)
        columns[stands_in] = [_Column(chart.name, is_chart=True)]
        for row, strip in zip(rows, chart.strips, strict=True):
            row[stands_in] = [strip]
    return _Grid(quote_mark(table.title or table.heading), columns, rows, chart)


def _are_figures(texts: Sequence[str]) -> bool:
    return any(texts) and all(_FIGURE.fullmatch(text) for text in texts)


def _cells(columns: Sequence[_Column], row: Sequence[str]) -> Iterator[_Cell]:
    for column, text in zip(columns, row, strict=True):
        whole = text.whole if isinstance(text, Cell) else text
        is_plain = column.name not in _NAMES or whole == one_line(whole)
        shown = quote_mark(whole) if is_plain else json_text(whole)
        tone = TONES.get(text, "neutral") if column.name in _SAID and text else None
        link = text.link if isinstance(text, Cell) and re.match(r"https?://", text.link or "") else None
        yield _Cell(shown, column.is_figure or text is UNKNOWN, tone, link)


def _tick_label(tick: float, strip: Strip) -> str:
    """What to write at a tick: its number, with a sign where differences are drawn."""
    return f"{tick:+.4g}" if strip.reference == 0 and tick > 0 else number(tick)
