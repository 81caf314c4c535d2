"""Limits for scores in gates and thresholds, as callers write them: `0.8`, `80%`, or `4/5` on the score's own scale."""

import math
import re
from dataclasses import dataclass

from lfexp_mcp.model import Scale

PASS_MARK = 0.7
"""Canonical value from which an item passes by default."""
COMPARED_DECIMALS = 9
"""Further decimals of a score hold rounding errors."""

_NUMBER = r"[+\u2212-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_FORM = re.compile(rf"(?P<number>{_NUMBER})\s*(?:(?P<percent>%)|/\s*(?P<high>{_NUMBER}))?", re.IGNORECASE | re.ASCII)
_HOW = "write 0.8 or 80%, where 1 is always best, or a value with the upper end of the score's own scale, such as 4/5"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit for a score, on the canonical 0-1 unless it names its scale."""

    value: float
    high: float | None = None
    """The upper end of the scale that `value` is on; None for a canonical limit."""

    @property
    def is_canonical(self) -> bool:
        """Whether it is on the canonical 0-1."""
        return self.high is None

    def check(self, scale: Scale) -> None:
        """Check that scores on a scale can be compared with the limit.

        Raises:
            ValueError: The limit is on another scale, or outside it.
        """
        low, high = (0.0, 1.0) if self.is_canonical else (scale.low, scale.high)
        if self.high not in (None, high):
            raise ValueError(f"the score's scale is {scale.name}: write the limit as a value out of {high:g}")
        if not low <= self.value <= high:
            raise ValueError(f"{self.value:g} lies outside {low:g} to {high:g}; {_HOW}")

    def check_difference(self, scale: Scale) -> None:
        """Check that differences of scores on a scale can be compared with the limit; see `check`."""
        width = 1.0 if self.is_canonical else scale.high - scale.low
        if self.high not in (None, scale.high):
            raise ValueError(f"the score's scale is {scale.name}: write the limit as points out of {scale.high:g}")
        if abs(self.value) > width:
            raise ValueError(f"a difference is {width:g} at most; write -0.02 or -2%, say")

    def canonical(self, scale: Scale) -> float:
        """Return the limit on the canonical 0-1.

        Raises:
            ValueError: See `check`.
        """
        self.check(scale)
        return self.value if self.is_canonical else scale.normalise(self.value)

    def measure(self, canonical: float, scale: Scale) -> float:
        """Convert a canonical value to the scale of the limit."""
        return canonical if self.is_canonical else scale.raw(canonical)

    def measure_difference(self, canonical: float, scale: Scale) -> float:
        """Convert a difference of canonical values to the scale of the limit, on which less may be better."""
        if self.is_canonical:
            return canonical
        return canonical * (scale.high - scale.low) * (-1 if scale.lower_is_better else 1)

    def __str__(self) -> str:
        return f"{self.value:g}" if self.high is None else f"{self.value:g}/{self.high:g}"


def is_below(canonical: float, limit: float) -> bool:
    """Whether a score's canonical value is below a canonical limit; decimals that are rounding errors do not count."""
    return round(canonical, COMPARED_DECIMALS) < round(limit, COMPARED_DECIMALS)


def is_pass(canonical: float) -> bool:
    """Whether a score's canonical value reaches the pass mark."""
    return not is_below(canonical, PASS_MARK)


def parse_limit(text: str) -> Limit:
    """Parse a limit.

    Raises:
        ValueError: It is not a limit, or a plain number above 1, which does not say out of what. The message is a
            clause that says how to write it.

    Example:
        >>> parse_limit("80%"), parse_limit("4/5")
        (Limit(value=0.8, high=None), Limit(value=4.0, high=5.0))
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a limit: {_HOW}")
    number = _float(match["number"])
    if match["high"] is not None:
        return Limit(number, _float(match["high"]))
    if match["percent"]:
        if abs(number) > 100:
            raise ValueError(f"{text} is beyond 100%")
        return Limit(number / 100)
    if abs(number) > 1:
        raise ValueError(f"{text} is beyond 1, and does not say out of what: {_HOW}")
    return Limit(number)


def _float(text: str) -> float:
    number = float(text.replace("\u2212", "-"))
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number
