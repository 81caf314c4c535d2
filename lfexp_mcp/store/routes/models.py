"""Model definitions with their prices: `/api/public/models`. The store has none of its own."""

import re
import secrets
import sqlite3
from typing import Literal

from pydantic import Field, JsonValue
from starlette.responses import Response

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.http_errors import InvalidRequestError
from lfexp_mcp.store.paging import Conditions, PageQuery, from_json, get_row, insert, page_of, to_json
from lfexp_mcp.store.times import Instant, iso, iso_or_none, now_ms
from lfexp_mcp.store.usage import Price, PricingTier, TierBody, default_tier


class ModelBody(Fields):
    """A new model definition."""

    model_name: str = Field(min_length=1)
    match_pattern: str = Field(min_length=1)
    start_date: Instant | None = None
    unit: Literal["CHARACTERS", "TOKENS", "MILLISECONDS", "SECONDS", "IMAGES", "REQUESTS"] | None = None
    input_price: Price | None = None
    output_price: Price | None = None
    total_price: Price | None = None
    pricing_tiers: list[TierBody] | None = None
    tokenizer_id: str | None = None
    tokenizer_config: JsonValue = None


def create_model(call: Call) -> JsonValue:
    """Create a model definition, which prices generations ingested from now on."""
    body = call.body(ModelBody)
    try:
        re.compile(body.match_pattern)
    except re.error as error:
        raise InvalidRequestError.at("matchPattern", f"matchPattern is not a valid regex: {error}") from error
    model_id = secrets.token_hex(12)
    tiers = [tier.model_dump(by_alias=True) for tier in _tiers(body, model_id)]
    with call.database.write() as connection:
        row = insert(
            connection,
            "models",
            id=model_id,
            name=body.model_name,
            match_pattern=body.match_pattern,
            start_date=body.start_date,
            unit=body.unit,
            tokenizer_id=body.tokenizer_id,
            tokenizer_config=to_json(body.tokenizer_config),
            pricing_tiers=to_json(list(tiers)),
            created_at=now_ms(),
        )
        return _json(row)


def _tiers(body: ModelBody, model_id: str) -> list[PricingTier]:
    flat = {"input": body.input_price, "output": body.output_price, "total": body.total_price}
    prices = {kind: price for kind, price in flat.items() if price is not None}
    if body.pricing_tiers is None:
        if "total" in prices and len(prices) > 1:
            raise InvalidRequestError.at("totalPrice", "If input/output price is set, total price must be null")
        standard = {"name": "Standard", "isDefault": True, "priority": 0, "conditions": [], "prices": prices}
        return [_tier(model_id, TierBody.model_validate(standard))]
    if prices:
        raise InvalidRequestError.at("pricingTiers", "Cannot use both flat prices and pricingTiers.")
    if [tier.is_default for tier in body.pricing_tiers].count(True) != 1:
        raise InvalidRequestError.at("pricingTiers", "Exactly one pricing tier must be the default one.")
    return [_tier(model_id, tier) for tier in body.pricing_tiers]


def _tier(model_id: str, tier: TierBody) -> PricingTier:
    suffix = "default" if tier.is_default else str(tier.priority)
    return PricingTier.model_validate({"id": f"{model_id}_tier_{suffix}", **tier.model_dump(by_alias=True)})


def get_model(call: Call) -> JsonValue:
    """Return a model definition by its id."""
    with call.database.read() as connection:
        return _json(_found(connection, call.path("id")))


def list_models(call: Call) -> JsonValue:
    """Return a page of model definitions, sorted by name."""
    query = call.query(PageQuery)
    with call.database.read() as connection:
        return page_of(connection, query, "models", Conditions(), "name, seq DESC", _json)


def delete_model(call: Call) -> Response:
    """Delete a model definition; costs computed with it stay."""
    with call.database.write() as connection:
        row = _found(connection, call.path("id"))
        connection.execute("DELETE FROM models WHERE id = ?", (row["id"],))
    return Response(status_code=204)


def _found(connection: sqlite3.Connection, model_id: str) -> sqlite3.Row:
    return get_row(connection, "models", model_id, "No model with this id found.")


def _json(row: sqlite3.Row) -> dict[str, JsonValue]:
    prices = default_tier(row).prices
    return {
        "id": row["id"],
        "createdAt": iso(row["created_at"]),
        "modelName": row["name"],
        "matchPattern": row["match_pattern"],
        "startDate": iso_or_none(row["start_date"]),
        "tokenizerId": row["tokenizer_id"],
        "tokenizerConfig": from_json(row["tokenizer_config"]),
        "unit": row["unit"],
        "inputPrice": prices.get("input"),
        "outputPrice": prices.get("output"),
        "totalPrice": prices.get("total"),
        "prices": {kind: {"price": price} for kind, price in prices.items()},
        "isLangfuseManaged": False,
        "pricingTiers": from_json(row["pricing_tiers"]),
    }
