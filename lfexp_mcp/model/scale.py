"""Scales: the raw values of a score, and how they map onto the canonical 0-1."""

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

ScaleKind = Literal["NUMERIC", "BOOLEAN", "CATEGORICAL"]

ROUNDING = 1e-3
"""A number outside a scale by up to this share of its width counts as the end of the scale."""


@dataclass(frozen=True, slots=True)
class Category:
    """One label of a scale of categories."""

    label: str
    value: float | None = None
    """None for a label that is only counted."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The raw values of one score name: a range of numbers, or labels.

    A range maps linearly onto the canonical 0-1, where 1 is always the good end. BOOLEAN and CATEGORICAL
    values stay as they are; if every category has a value, `low` and `high` are the least and the greatest.

    Raises:
        ValueError: The ends are not finite, or `low` is not below `high`.
    """

    low: float
    high: float
    lower_is_better: bool = False
    kind: ScaleKind = "NUMERIC"
    categories: tuple[Category, ...] = ()
    """The labels: those of a CATEGORICAL scale, or the true and then the false one of a BOOLEAN."""

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"a scale needs a finite low end below a finite high end, not {self.low} and {self.high}")

    @classmethod
    def of_categories(cls, categories: "tuple[Category, ...]") -> "Scale":
        """Create a scale of labels.

        Raises:
            ValueError: They all have the same value.
        """
        values = [category.value for category in categories if category.value is not None]
        if len(values) < len(categories):
            return cls(0, 1, kind="CATEGORICAL", categories=categories)
        if min(values) == max(values):
            raise ValueError("categories that all have the same value: give them different ones.")
        return cls(min(values), max(values), kind="CATEGORICAL", categories=categories)

    @property
    def name(self) -> str:
        """The scale for a reader, such as `0-10`, `1-5, lower is better` or `PASS/FAIL`."""
        ends = f"{self.low:g} to {self.high:g}" if self.low < 0 else f"{self.low:g}-{self.high:g}"
        values = "/".join(category.label for category in self.categories) or ends
        return values + (LOWER_IS_BETTER if self.lower_is_better else "")

    def lower_better(self) -> "Scale":
        """Return the scale with its low end as the best."""
        return replace(self, lower_is_better=True)

    def within(self, raw: float) -> float | None:
        """Return a raw number on this scale, or None if it lies outside or is not finite.

        A number outside by up to `ROUNDING` becomes the nearest end. No other number is moved: a -1 that means "cannot
        tell", or an 85 on 0-10, is not a score on this scale.
        """
        if self.low <= raw <= self.high:
            return raw
        end = self.low if raw < self.low else self.high
        return end if abs(end - raw) <= ROUNDING * (self.high - self.low) else None

    def normalise(self, raw: float) -> float:
        """Map a raw number onto the canonical 0-1.

        Raises:
            ValueError: `raw` lies outside the scale, see `within`.
        """
        on_scale = self.within(raw)
        if on_scale is None:
            raise ValueError(f"{raw:g} is outside the scale {self.name}")
        share = (on_scale - self.low) / (self.high - self.low)
        return 1 - share if self.lower_is_better else share

    def raw(self, value: float) -> float:
        """Map a canonical value back onto the scale."""
        share = 1 - value if self.lower_is_better else value
        return self.low + share * (self.high - self.low)

    def display(self, mean: float) -> str:
        """Show a canonical mean, with what it is on the scale: `0.82 (8.2/10)`."""
        if (self.low, self.high, self.lower_is_better) == (0, 1, False):
            return f"{mean:.2f}"
        direction = ", lower is better" if self.lower_is_better else ""
        if self.low in {0, 1}:
            return f"{mean:.2f} ({_short(self.raw(mean))}/{self.high:g}{direction})"
        return f"{mean:.2f} ({_short(self.raw(mean))} on {self.low:g} to {self.high:g}{direction})"

    def category(self, label: str) -> Category | None:
        """Find a category by its label, ignoring case and surrounding space."""
        wanted = label.strip().casefold()
        return next((known for known in self.categories if known.label.casefold() == wanted), None)


UNIT = Scale(0, 1)
TEN = Scale(0, 10)
BOOLEAN = Scale(0, 1, kind="BOOLEAN", categories=(Category("true", 1), Category("false", 0)))
LOWER_IS_BETTER = ", lower is better"

_NAME = re.compile(r"(?P<low>-?[\d.e+-]*?\d)(?:-| to )(?P<high>-?[\d.e+-]*?\d)")
_TWO_LABELS = {"true/false", "pass/fail", "yes/no"}


def parse_scale_name(name: str) -> Scale | None:
    """Read what `Scale.name` wrote.

    Returns:
        None for labels, whose values are not in the name, except those of pass/fail and the like.
    """
    values, lower = name.removesuffix(LOWER_IS_BETTER), name.endswith(LOWER_IS_BETTER)
    if values.casefold() in _TWO_LABELS:
        good, _, bad = values.partition("/")
        return Scale(0, 1, lower, kind="BOOLEAN", categories=(Category(good, 1), Category(bad, 0)))
    match = _NAME.fullmatch(values)
    try:
        return Scale(float(match["low"]), float(match["high"]), lower) if match else None
    except ValueError:
        return None


def _short(number: float) -> str:
    # Adding zero turns a rounded -0.0 into 0.
    return f"{round(number, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
