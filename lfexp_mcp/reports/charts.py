"""Drawings of the rows of a table, as data: what lies where on an axis. `reports.page` draws them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from lfexp_mcp.model import Interval

Tone = Literal["good", "bad", "neutral"]

TONES: Mapping[str, Tone] = {
    "better": "good",
    "worse": "bad",
    "no longer erroring": "good",
    "newly erroring": "bad",
    "passed": "good",
    "failed": "bad",
}
"""Of verdicts and outcomes; what is not among them is neutral."""
TOO_LARGE = 1e100
"""From here on, a number has no place on an axis."""
STEPS = (1, 2, 5, 10)
"""Multiples of a power of ten by which the ticks of an axis may go on."""
MAX_STEPS = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """A line from its first tick to its last."""

    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Say where a value lies, in percent of the axis; one beyond an end lies on it."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)


SHARES = Axis((0.0, 0.25, 0.5, 0.75, 1.0))
"""From 0 to 1, as scores have a scale."""


@dataclass(frozen=True, slots=True)
class Strip:
    """What is drawn of one row; of what is None, nothing is."""

    axis: Axis
    label: str
    """The same in words, for those who do not see it."""
    tone: Tone = "neutral"
    value: float | None = None
    """A point."""
    interval: Interval | None = None
    """A line through the point."""
    before: float | None = None
    """Where the point was before."""
    reference: float | None = None
    """A value that is marked."""
    band: Interval | None = None
    """A range that is shaded."""
    bar: float | None = None
    """A bar from the beginning of the axis."""
    counts: Sequence[int] = ()
    """Bars in equal bins over the axis."""

    @property
    def heights(self) -> list[float]:
        """The bars, in percent of the highest."""
        most = max(self.counts, default=0) or 1
        return [round(100 * count / most, 2) for count in self.counts]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing that is a further column of a table."""

    name: str
    strips: Sequence[Strip]
    """One per row."""
    place: int
    """Before which column it stands."""
    replaces: bool = False
    """Whether it stands in for that column."""
    note: str = ""
    """How to read it."""


def is_drawable(value: float | None) -> TypeGuard[float]:
    """Whether a number is known and has a place on an axis."""
    return value is not None and math.isfinite(value) and abs(value) < TOO_LARGE


def drawable(value: float | None) -> float | None:
    """Return a number that has a place on an axis, else None."""
    return value if is_drawable(value) else None


def drawable_interval(interval: Interval | None) -> Interval | None:
    """Return an interval both of whose ends have a place on an axis, else None."""
    return interval if interval is not None and all(map(is_drawable, interval)) else None


def axis_over(values: Iterable[float | None], within: Axis | None = None) -> Axis:
    """Make an axis that holds all values, with a few round ticks.

    Args:
        values: Those that have no place on an axis count for nothing.
        within: The axis to take if all values lie on it.
    """
    # What is too small to divide lies at zero.
    known = [value if abs(value) > 1 / TOO_LARGE else 0.0 for value in filter(is_drawable, values)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if within is not None and within.ticks[0] <= low and high <= within.ticks[-1]:
        return within
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
    least = (high - low) / MAX_STEPS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(step * power for step in STEPS if step * power >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(tuple(float(f"{index * step:.12g}") for index in range(first, last + 1)))


def axes_of_differences(differences: Iterable[tuple[str, Iterable[float | None]]]) -> Mapping[str, Axis]:
    """Make the axes of the differences of several scores, each of which holds zero.

    Scores whose differences lie within -1 and 1 share an axis, so that they can be compared; each other, on a scale of
    its own, has its own axis.

    Args:
        differences: Names of scores with what is drawn of them; a name may come more than once.
    """
    values: dict[str, list[float]] = {}
    for name, numbers in differences:
        values.setdefault(name, [0.0]).extend(filter(is_drawable, numbers))
    shared = [name for name, numbers in values.items() if max(map(abs, numbers)) <= 1]
    axis = axis_over(value for name in shared for value in values[name])
    return {name: axis if name in shared else axis_over(numbers) for name, numbers in values.items()}
