"""Prices of models: from Langfuse's model table, else the published prices in the package `genai-prices`.

The latter are those of the installed version; nothing is read from the network.
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

BATCH_SHARE = 0.5
"""Price of a batched request as a share of the usual one, at OpenAI (https://platform.openai.com/docs/guides/batch) and
Anthropic (https://docs.anthropic.com/en/docs/build-with-claude/batch-processing) alike."""
MAX_PATTERN_CHARS = 1000
MAX_NAME_CHARS = 100
SELLERS = ("openai", "anthropic")
"""Models of other companies are sold by several providers at different prices, so a name does not tell the price."""
MAX_REPEATS = 4
"""Unbounded repeats in a pattern: matching a name takes at most `MAX_NAME_CHARS` to this power of steps."""

_ESCAPED = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
_UNBOUNDED = re.compile(r"[*+]|\{\d+,\}|\{\d{3,}")


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model, in USD per token."""

    input: float
    output: float
    source: str = "Langfuse"
    """Where the price is from."""

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of some tokens, in USD."""
        return input_tokens * self.input + output_tokens * self.output


class PriceTable:
    """Prices by model. A row with an invalid or costly pattern matches by the model's name alone."""

    def __init__(self, rows: Iterable[ModelPrice], published: Mapping[str, Price] | None = None) -> None:
        """Create a table.

        Args:
            rows: Langfuse's model table; the first row that matches wins.
            published: Prices of models that no row matches.
        """
        self._published = published or {}
        self._rows = [
            (row.model_name, _compile(row.match_pattern), Price(row.input_price, row.output_price))
            for row in rows
            if row.input_price is not None and row.output_price is not None
        ]

    def price_of(self, model: str) -> Price | None:
        """Return the price of a model; None if it is unknown."""
        if len(model) > MAX_NAME_CHARS:
            return None
        rows = (price for name, pattern, price in self._rows if name == model or (pattern and pattern.search(model)))
        return next(rows, None) or self._published.get(model)

    def cost(self, model: str, usage: ModelUsage) -> float | None:
        """Return the cost of some usage, in USD; None if the price or the tokens are unknown."""
        price = self.price_of(model)
        if price is None or usage.unmetered:
            return None
        batched = price.cost(usage.batched_input_tokens, usage.batched_output_tokens)
        return price.cost(usage.input_tokens, usage.output_tokens) - batched * (1 - BATCH_SHARE)


async def open_prices(rows: Iterable[ModelPrice], models: Iterable[str]) -> PriceTable:
    """Return the prices of models: Langfuse's, else published ones.

    Args:
        models: The models whose prices are needed.
    """
    known = list(rows)
    table = PriceTable(known)
    missing = {model for model in models if len(model) <= MAX_NAME_CHARS and table.price_of(model) is None}
    if not missing:
        return table
    return PriceTable(known, await anyio.to_thread.run_sync(published_prices, missing))


def published_source() -> str:
    """Return the name and version of the package with the published prices."""
    return f"genai-prices {version('genai-prices')}"


def published_prices(models: Iterable[str]) -> dict[str, Price]:
    """Return today's standard prices of OpenAI and Anthropic; models that are not listed are left out.

    The first call imports the prices, which takes about a second.
    """
    found = {model: _published_price(model) for model in models}
    return {model: price for model, price in found.items() if price is not None}


def _published_price(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    token = Usage(input_tokens=1, output_tokens=1)
    for seller in SELLERS:
        with suppress(LookupError):
            price = calc_price(token, model, provider_id=seller, genai_request_timestamp=CLOCK.now())
            # Models that are not charged by text tokens, such as those for images, have no such price.
            if price.input_price and price.output_price:
                return Price(float(price.input_price), float(price.output_price), published_source())
    return None


def _compile(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern that anyone may have written; None if it is invalid or may take long to match."""
    # Escapes and classes match one character each, whatever they contain.
    if len(pattern) > MAX_PATTERN_CHARS or _is_costly(_ESCAPED.sub("x", pattern)):
        return None
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None


def _is_costly(bare: str) -> bool:
    """Whether matching may take exponential time: a repeated group that contains a repeat or alternatives."""
    if len(_UNBOUNDED.findall(bare)) > MAX_REPEATS or "(?P=" in bare:
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
