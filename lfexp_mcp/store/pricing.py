"""What a generation costs: the prices of the model definition that matches its model name, times its usage."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue, TypeAdapter

from lfexp_mcp.store.call import Fields


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The definition of a model, as far as costs need it."""

    id: str
    pattern: re.Pattern[str]
    start_date: int | None
    tier_id: str
    tier_name: str
    prices: Mapping[str, float]
    """US dollars per unit, by usage type such as `input`."""


class PricingTier(Fields):
    """One set of prices of a model; the store applies the default one."""

    id: str
    name: str
    is_default: bool
    priority: int
    conditions: list[JsonValue]
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


_TIERS = TypeAdapter(list[PricingTier])


def parse_tiers(text: str) -> list[PricingTier]:
    """Read the column `pricing_tiers` of a model definition."""
    return _TIERS.validate_json(text)


def load_prices(connection: sqlite3.Connection) -> list[ModelPrices]:
    """Read the model definitions, the one that wins first: the latest start date, then the newest."""
    rows = connection.execute(
        "SELECT id, match_pattern, start_date, pricing_tiers FROM models ORDER BY ifnull(start_date, 0) DESC, seq DESC"
    )
    return [_model(row) for row in rows]


def _model(row: sqlite3.Row) -> ModelPrices:
    tiers = parse_tiers(row["pricing_tiers"])
    default = next(tier for tier in tiers if tier.is_default)
    return ModelPrices(
        id=row["id"],
        pattern=re.compile(row["match_pattern"]),
        start_date=row["start_date"],
        tier_id=default.id,
        tier_name=default.name,
        prices=default.prices,
    )


def match_model(models: list[ModelPrices], name: str, start_time: int) -> ModelPrices | None:
    """Find the definition for a model name.

    Args:
        models: The definitions, the one that wins first.
        name: The model name of the generation.
        start_time: When the generation started, in milliseconds since the epoch.
    """
    for model in models:
        if (model.start_date is None or model.start_date <= start_time) and model.pattern.search(name):
            return model
    return None


def cost(model: ModelPrices, usage: Mapping[str, float]) -> dict[str, float]:
    """Compute the cost of each usage type that has a price, and their `total`, in US dollars.

    The price of `total` applies only when no other type has one, as on a Langfuse server.
    """
    parts = {kind: units * model.prices[kind] for kind, units in usage.items() if kind in model.prices}
    if len(parts) > 1:
        parts.pop("total", None)
    return {**parts, "total": sum(parts.values())} if parts else {}
