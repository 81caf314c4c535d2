"""Tokens of a generation, and what they cost.

Usage has Langfuse's names: `input`, `output`, their finer kinds, and `total`. The cost is the usage times the prices of
the model definition that matches the generation's model name.
"""

import math
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue, TypeAdapter

from lfexp_mcp.store.call import Fields
from lfexp_mcp.strict_json import finite_number

_OPENAI_SIDES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))
"""OpenAI's names of the two sides, beside `total_tokens`: in chat completions, and in responses."""


def read_usage(sent: Mapping[str, JsonValue]) -> dict[str, float]:
    """Read the usage details of a span.

    OpenAI's two formats, which the SDK's `langfuse.openai` sends as they are, get Langfuse's names: a detail of a side,
    such as its `cached_tokens`, becomes a kind of its own, `input_cached_tokens`, and is subtracted from the side. Any
    other format keeps its names. A `total` that was not sent is the sum.
    """
    usage = next((_from_openai(sent, *sides) for sides in _OPENAI_SIDES if _has(sent, *sides)), None)
    if usage is None:
        usage = numbers(sent)
    return with_total(usage)


def numbers(sent: Mapping[str, JsonValue]) -> dict[str, float]:
    """Keep the members that are numbers within a float's range."""
    found = ((name, finite_number(member)) for name, member in sent.items())
    return {name: member for name, member in found if member is not None}


def with_total(parts: dict[str, float]) -> dict[str, float]:
    """Add the sum as `total`, unless that is among the parts, there are none, or it is beyond a float's range."""
    total = sum(parts.values())
    return parts if "total" in parts or not parts or math.isinf(total) else {**parts, "total": total}


def _has(sent: Mapping[str, JsonValue], *names: str) -> bool:
    return numbers(sent).keys() >= {*names, "total_tokens"}


def _from_openai(sent: Mapping[str, JsonValue], input_name: str, output_name: str) -> dict[str, float]:
    counts = numbers(sent)
    usage: dict[str, float] = {"total": counts["total_tokens"]}
    for side, name in (("input", input_name), ("output", output_name)):
        details = sent.get(f"{name}_details")
        kinds = numbers(details) if isinstance(details, dict) else {}
        usage[side] = max(counts[name] - sum(kinds.values()), 0)
        usage.update({f"{side}_{kind}": count for kind, count in kinds.items()})
    return usage


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The part of a model definition that costs need."""

    id: str
    pattern: re.Pattern[str]
    start_date: int | None
    tier: "PricingTier"


Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TierBody(Fields):
    """A set of prices of a model, as it is sent; the store uses only the default one."""

    name: str = Field(min_length=1)
    is_default: bool
    priority: int
    conditions: list[JsonValue]
    prices: dict[str, Price]
    """US dollars per unit, by usage type such as `input`."""


class PricingTier(TierBody):
    """One that is stored."""

    id: str


_TIERS = TypeAdapter(list[PricingTier])


def default_tier(row: sqlite3.Row) -> PricingTier:
    """Return the pricing tier of a model definition that applies."""
    return next(tier for tier in _TIERS.validate_json(row["pricing_tiers"]) if tier.is_default)


def load_prices(connection: sqlite3.Connection) -> list[ModelPrices]:
    """Read the model definitions in order of precedence: latest start date first, then newest first."""
    rows = connection.execute(
        "SELECT id, match_pattern, start_date, pricing_tiers FROM models ORDER BY ifnull(start_date, 0) DESC, seq DESC"
    )
    return [_model(row) for row in rows]


def _model(row: sqlite3.Row) -> ModelPrices:
    return ModelPrices(row["id"], re.compile(row["match_pattern"]), row["start_date"], default_tier(row))


def match_model(models: list[ModelPrices], name: str, start_time: int) -> ModelPrices | None:
    """Find the definition for a model name.

    Args:
        models: The definitions in order of precedence.
        name: The model name of the generation.
        start_time: When the generation started, in milliseconds since the epoch.
    """
    for model in models:
        if (model.start_date is None or model.start_date <= start_time) and model.pattern.search(name):
            return model
    return None


def cost(prices: Mapping[str, float], usage: Mapping[str, float]) -> dict[str, float]:
    """Compute the cost of each usage type that has a price, and their `total`, in US dollars.

    The price of `total` applies only when no other type has one, as on a Langfuse server.
    """
    parts = numbers({kind: units * prices[kind] for kind, units in usage.items() if kind in prices})
    if len(parts) > 1:
        parts.pop("total", None)
    return with_total(parts)
