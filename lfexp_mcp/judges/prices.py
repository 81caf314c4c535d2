"""What models cost, by Langfuse's model table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lfexp_mcp.gateway.records import ModelPrice
from lfexp_mcp.records import ModelUsage

LONGEST_PATTERN = 1000
LONGEST_NAME = 100
MOST_REPEATS = 4
"""Unbounded repeats in a pattern: matching a name takes at most `LONGEST_NAME` to this power of steps."""

_ESCAPED = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
_UNBOUNDED = re.compile(r"[*+]|\{\d+,\}|\{\d{3,}")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in USD per token."""

    input: float
    output: float

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of some tokens, in USD."""
        return input_tokens * self.input + output_tokens * self.output


class PriceTable:
    """Finds a model's price; a row whose pattern cannot be relied on counts by the model's name alone."""

    def __init__(self, rows: Iterable[ModelPrice]) -> None:
        """Take the rows of Langfuse's model table, the first that matches wins."""
        self._rows = [
            (row.model_name, _compile(row.match_pattern), Price(row.input_price, row.output_price))
            for row in rows
            if row.input_price is not None and row.output_price is not None
        ]

    def price_of(self, model: str) -> Price | None:
        """Find what a model costs; None when the table does not know it."""
        if len(model) > LONGEST_NAME:
            return None
        return next(
            (price for name, pattern, price in self._rows if name == model or (pattern and pattern.search(model))), None
        )

    def cost(self, model: str, used: ModelUsage) -> float | None:
        """The cost of what was used, in USD; None when the price or the tokens are not known."""
        price = self.price_of(model)
        if price is None or used.unmetered:
            return None
        return price.cost(used.input_tokens, used.output_tokens)


def _compile(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern that a stranger may have written; None for one that is broken, or could keep us for long."""
    if len(pattern) > LONGEST_PATTERN or _is_costly(_ESCAPED.sub("x", pattern)):
        return None
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None


def _is_costly(bare: str) -> bool:
    """Whether matching can take exponential time: a repeated group that repeats or branches within."""
    if len(_UNBOUNDED.findall(bare)) > MOST_REPEATS or "(?P=" in bare:
        return True
    opened: list[int] = []
    for at, character in enumerate(bare):
        if character == "(":
            opened.append(at)
        elif character == ")" and opened:
            inside = bare[opened.pop() + 1 : at]
            if _UNBOUNDED.match(bare, at + 1) and (_UNBOUNDED.search(inside) or "|" in inside or "?" in inside):
                return True
    return False
