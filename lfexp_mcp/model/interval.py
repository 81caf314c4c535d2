"""A confidence interval."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% confidence interval."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Whether every value inside is smaller than `margin` in size."""
        return -margin < self.low and self.high < margin
