"""One row per figure, and the table of them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure of ours beside another one."""

    case: str
    ours: str
    other: str = ""
    """The SDK's figure, or the floor."""
    ratio: str = ""
    target: str = ""
    holds: bool | None = None
    """None where there is no target."""


def show(rows: Sequence[Row]) -> None:
    """Print rows as an aligned table."""
    heads = ("case", "ours", "beside", "ratio", "target", "holds")
    verdicts = {True: "yes", False: "NO", None: ""}
    cells = [(row.case, row.ours, row.other, row.ratio, row.target, verdicts[row.holds]) for row in rows]
    widths = [max(len(line[column]) for line in [heads, *cells]) for column in range(len(heads))]
    for line in [heads, *cells]:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()
