"""What every estimate carries: how sure it is."""

from dataclasses import dataclass

CONFIDENCE = 0.95
"""Level of every interval here."""
ALPHA = 0.05
"""Level of every test here."""
Z95 = 1.959963984540054
"""The normal quantile that belongs to `CONFIDENCE`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, of 95% where nothing else is said."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Whether every value inside is smaller than `margin` in size."""
        return -margin < self.low and self.high < margin
