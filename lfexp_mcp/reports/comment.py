"""A comparison as the comment of a pull request: verdict and gate first, and never longer than GitHub takes.

What inputs and outputs say is left out: the repository may be public, and other agents read its comments.
"""

import hashlib
import re

from lfexp_mcp.answers.comparison import Comparison, RunMetrics
from lfexp_mcp.reports.comparison import checks_table, figures, why
from lfexp_mcp.reports.layout import (
    CELL_WIDTH,
    Block,
    MarkedLine,
    Report,
    Table,
    cell,
    change,
    interval,
    markdown,
    signed,
)

MAX_BYTES = 60_000
"""GitHub takes 65,536 characters, as it counts them."""
ROWS = (50, 20, 10, 5, 2, 1)
"""Rows of a table, the fewer the longer they are."""
ITEMS_SHOWN = 20
"""Ids of changed items in one list."""
FOUND_WIDTH = 240
MAX_ADDRESS = 1_000
MARKER = "<!-- lfexp-mcp:{} -->"
_PLAIN_ADDRESS = re.compile(r"https?://(?!127\.0\.0\.1\b|localhost\b)[\w.~:/?#%&=+,;-]+")
"""One that can be opened from elsewhere, and closes no link."""
Rows = list[tuple[str, ...]]


def marker(dataset: str) -> str:
    """Return the hidden first line by which a later comment about a dataset takes the place of an earlier one."""
    readable = re.sub(r"[^a-z0-9]+", "-", dataset.lower())[:40].strip("-")
    return MARKER.format(f"{readable}-{hashlib.sha256(dataset.encode()).hexdigest()[:12]}")


def comparison_comment(comparison: Comparison) -> str:
    """Write a comparison as Markdown for a pull request."""
    parts: list[str] = []
    for rows in ROWS:
        for with_items in (True, False):
            parts = _write(comparison, rows, with_items=with_items)
            text = "\n\n".join(parts)
            if len(text.encode()) <= MAX_BYTES:
                return text
    # A single row of each table is that long: only names of thousands of letters are.
    return "\n\n".join(parts[:2])


def _write(comparison: Comparison, rows: int, *, with_items: bool) -> list[str]:
    """Write its marker, its heading and the parts that follow."""
    blocks: list[Block] = [
        f"Dataset {cell(comparison.dataset)!r}, against baseline {cell(comparison.baseline)!r}.",
        *([Table(*_cut(checks_table(comparison.gate), rows))] if comparison.gate else []),
        *_verdicts(comparison, rows),
        *_notes(comparison, rows),
        Table(*_cut(figures(comparison), rows), title="Runs"),
    ]
    if with_items:
        blocks += _items(comparison)
    elif any(changes.items for changes in comparison.changes):
        blocks.append("Changed items are left out, since this is long: compare the runs to list them.")
    links = " ".join(link for run in comparison.runs[:rows] if (link := _link(comparison, run)))
    heading, rest = (markdown(Report(each)) for each in ((_heading(comparison),), tuple(blocks)))
    return [part for part in (marker(comparison.dataset), f"### {heading}", links, rest) if part]


def conditions(count: int) -> str:
    """Say how many conditions there are."""
    return "1 condition" if count == 1 else f"{count} conditions"


def _heading(comparison: Comparison) -> str:
    verdicts = [f"{cell(score.score)} {score.verdict}" for score in comparison.scores]
    shown = ", ".join(verdicts[:3]) + (f" and {len(verdicts) - 3} more" if len(verdicts) > 3 else "")
    gate = comparison.gate
    if gate is None:
        decided = "No gate"
    else:
        open_checks = [check for check in gate.checks if check.outcome != "passed"]
        of = conditions(len(gate.checks))
        decided = f"Gate FAILED, {len(open_checks)} of {of} not met" if open_checks else f"Gate passed, {of}"
    return f"{decided}: {shown or 'no score to compare'}"


def _verdicts(comparison: Comparison, rows: int) -> list[Block]:
    if not comparison.scores:
        return ["No score to compare."]
    columns = ("run", "score", "verdict", "paired mean", "delta", "interval", "pairs", "because")
    found = [
        (
            cell(score.run),
            cell(score.score),
            score.verdict,
            change(score.baseline_mean, score.mean),
            signed(score.delta),
            interval(score.interval, of_difference=True),
            str(score.pairs),
            cell(why(score), FOUND_WIDTH),
        )
        for score in comparison.scores
    ]
    return [Table(*_cut(Table(columns, found), rows))]


def _notes(comparison: Comparison, rows: int) -> list[Block]:
    found: list[Block] = [
        MarkedLine("Warning" if issue.unfair else "Note", cell(issue.message, FOUND_WIDTH))
        for issue in comparison.comparability
    ]
    found += [MarkedLine("Warning", cell(warning, FOUND_WIDTH)) for warning in comparison.warnings]
    more = [f"{len(found) - rows} more notes are left out."] if len(found) > rows else []
    return [*found[:rows], *more]


def _items(comparison: Comparison) -> list[Block]:
    lists = []
    for changes in comparison.changes:
        ids = ", ".join(cell(item.item_id, CELL_WIDTH) for item in changes.items[:ITEMS_SHOWN])
        more = f" and {changes.total - ITEMS_SHOWN} more" if changes.total > ITEMS_SHOWN else ""
        score = f", {cell(changes.score)}" if changes.score else ""
        if ids:
            lists.append((f"{changes.kind}{score}", cell(changes.run), str(changes.total), f"{ids}{more}"))
    return [Table(("items", "run", "count", "ids"), lists, "Changed items")] if lists else []


def _cut(table: Table, rows: int) -> tuple[tuple[str, ...], Rows]:
    """Leave out the rows of a table that are too many, and say how many."""
    kept: Rows = [tuple(cell(text, FOUND_WIDTH) for text in row) for row in table.rows[:rows]]
    if len(table.rows) > rows:
        kept.append((f"… {len(table.rows) - rows} more", *("" for _ in table.columns[1:])))
    return table.columns, kept


def _link(comparison: Comparison, run: RunMetrics) -> str | None:
    """Link a run's page in Langfuse, where its address is a plain one."""
    if run.url is None or len(run.url) > MAX_ADDRESS or not _PLAIN_ADDRESS.fullmatch(run.url):
        return None
    of = "baseline" if run.run == comparison.baseline else "run"
    return f"[Open the {of} in Langfuse](<{run.url}>)"
