"""What models cost: by Langfuse's model table, else by the published prices that `genai-prices` holds.

Those are part of the installed version of the library, which therefore dates them: nothing is read from the network.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

import anyio.to_thread

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.gateway import ModelPrice
from lfexp_mcp.model import ModelUsage

LONGEST_PATTERN = 1000
LONGEST_NAME = 100
SELLERS = ("openai", "anthropic")
"""Models of other companies are sold by many, at different prices: a name alone does not tell theirs."""
MOST_REPEATS = 4
"""Unbounded repeats in a pattern: matching a name takes at most `LONGEST_NAME` to this power of steps."""

_ESCAPED = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
_UNBOUNDED = re.compile(r"[*+]|\{\d+,\}|\{\d{3,}")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in USD per token."""

    input: float
    output: float
    source: str = "Langfuse"
    """Who says so."""

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of some tokens, in USD."""
        return input_tokens * self.input + output_tokens * self.output


class PriceTable:
    """Finds a model's price; a row whose pattern cannot be relied on counts by the model's name alone."""

    def __init__(self, rows: Iterable[ModelPrice], published: Mapping[str, Price] | None = None) -> None:
        """Prepare.

        Args:
            rows: Langfuse's model table, of which the first that matches wins.
            published: Prices of models that no row matches.
        """
        self._published = published or {}
        self._rows = [
            (row.model_name, _compile(row.match_pattern), Price(row.input_price, row.output_price))
            for row in rows
            if row.input_price is not None and row.output_price is not None
        ]

    def price_of(self, model: str) -> Price | None:
        """Find what a model costs; None when the table does not know it."""
        if len(model) > LONGEST_NAME:
            return None
        rows = (price for name, pattern, price in self._rows if name == model or (pattern and pattern.search(model)))
        return next(rows, None) or self._published.get(model)

    def cost(self, model: str, used: ModelUsage) -> float | None:
        """The cost of what was used, in USD; None when the price or the tokens are not known."""
        price = self.price_of(model)
        if price is None or used.unmetered:
            return None
        return price.cost(used.input_tokens, used.output_tokens)


async def open_prices(rows: Iterable[ModelPrice], models: Iterable[str]) -> PriceTable:
    """Return the prices of models: Langfuse's own, else published ones.

    Args:
        rows: Langfuse's model table.
        models: The models whose prices are asked for.
    """
    known = list(rows)
    table = PriceTable(known)
    lacking = {model for model in models if len(model) <= LONGEST_NAME and table.price_of(model) is None}
    if not lacking:
        return table
    return PriceTable(known, await anyio.to_thread.run_sync(published_prices, lacking))


def published_source() -> str:
    """Name the published prices by the library's version."""
    return f"genai-prices {version('genai-prices')}"


def published_prices(models: Iterable[str]) -> dict[str, Price]:
    """Look up what OpenAI and Anthropic charge today, at their standard rate; leave out models that are not listed.

    The first call imports the table, which takes about a second.
    """
    found = {model: _published_price(model) for model in models}
    return {model: price for model, price in found.items() if price is not None}


def _published_price(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    token = Usage(input_tokens=1, output_tokens=1)
    for seller in SELLERS:
        with suppress(LookupError):
            price = calc_price(token, model, provider_id=seller, genai_request_timestamp=CLOCK.now())
            # What is not charged by tokens of text, such as images, has no such price.
            if price.input_price and price.output_price:
                return Price(float(price.input_price), float(price.output_price), published_source())
    return None


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
