"""Observations as `v2/observations` returns them."""

import json
import sqlite3
from collections.abc import Collection
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.paging import from_json, number, number_or_none
from lfexp_mcp.store.times import iso, iso_or_none

ObservationField = Literal[
    "core", "basic", "time", "io", "metadata", "model", "usage", "prompt", "metrics", "trace_context"
]
MAX_METADATA_CHARS = 200
"""Of a metadata value, which is cut otherwise, unless `expandMetadata` names it."""


class Generation(BaseModel):
    """Model, prompt, usage and cost of an observation, as the column `generation` holds them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, protected_namespaces=())

    model: str = ""
    parameters: JsonValue = None
    usage: dict[str, float] = {}
    costs: dict[str, float] = {}
    """In US dollars, by usage type, with their `total`."""
    model_id: str | None = None
    """The model definition that matched."""
    tier_id: str | None = None
    tier_name: str | None = None
    prices: dict[str, float] = {}
    """In US dollars per unit, by usage type."""
    prompt: str = ""
    prompt_version: int | None = None
    completion_start: int | None = None
    """In milliseconds since the epoch."""


_NONE = Generation()


def observation_json(
    row: sqlite3.Row, fields: Collection[ObservationField], expanded: Collection[str]
) -> dict[str, JsonValue]:
    """Return the JSON of an observation.

    Args:
        row: The row of `observations`.
        fields: The groups of fields to add to the core ones.
        expanded: Metadata keys whose values are not cut.
    """
    generation = Generation.model_validate_json(row["generation"]) if row["generation"] else _NONE
    body: dict[str, JsonValue] = {
        "id": row["id"],
        "traceId": row["trace_id"],
        "startTime": iso(row["start_time"]),
        "endTime": iso_or_none(row["end_time"]),
        "projectId": PROJECT_ID,
        "parentObservationId": row["parent_id"],
        "type": row["type"],
    }
    if "basic" in fields:
        body |= _basic(row)
    if "time" in fields:
        body["completionStartTime"] = iso_or_none(generation.completion_start)
        body["createdAt"] = iso(row["created_at"])
        body["updatedAt"] = iso(row["updated_at"])
    if "io" in fields:
        body["input"] = row["input"]
        body["output"] = row["output"]
    if "metadata" in fields:
        body["metadata"] = _metadata(row, expanded)
    if "usage" in fields:
        body |= _usage(generation)
    if "prompt" in fields:
        body |= {"promptId": "", "promptName": generation.prompt, "promptVersion": generation.prompt_version}
    if "trace_context" in fields:
        body |= {"traceName": row["trace_name"], "release": row["release"], "tags": from_json(row["tags"])}
    if "basic" in fields or "metrics" in fields:
        body |= _timing(row, generation)
    return body | _model(generation, asked="model" in fields)


def _basic(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "name": row["name"],
        "level": row["level"],
        "statusMessage": row["status_message"],
        "version": row["version"],
        "environment": row["environment"],
        "userId": row["user_id"],
        "sessionId": row["session_id"],
        "isRootObservation": bool(row["is_root"]),
        "bookmarked": False,
        "public": bool(row["public"]),
    }


def _timing(row: sqlite3.Row, generation: Generation) -> dict[str, JsonValue]:
    start, end, first = row["start_time"], row["end_time"], generation.completion_start
    return {
        "latency": None if end is None else number((end - start) / 1000),
        "timeToFirstToken": None if first is None else number((first - start) / 1000),
    }


def _model(generation: Generation, *, asked: bool) -> dict[str, JsonValue]:
    if not asked:
        return {"modelId": None, "inputPrice": None, "outputPrice": None, "totalPrice": None}
    return {
        "model": generation.model,
        "internalModelId": generation.model_id or "",
        "modelParameters": generation.parameters or {},
        "modelId": generation.model_id,
        **{f"{kind}Price": _decimal(generation.prices.get(kind)) for kind in ("input", "output", "total")},
    }


def _decimal(price: float | None) -> str | None:
    return None if price is None else f"{Decimal(str(price)):f}"


def _usage(generation: Generation) -> dict[str, JsonValue]:
    usage, costs = generation.usage, generation.costs
    return {
        "usageDetails": {kind: number(units) for kind, units in usage.items()},
        "inputUsage": number(_sum(usage, "input") or 0.0),
        "outputUsage": number(_sum(usage, "output") or 0.0),
        "totalUsage": number(usage.get("total", 0.0)),
        "costDetails": {kind: number(part) for kind, part in costs.items()},
        "inputCost": number_or_none(_sum(costs, "input")),
        "outputCost": number_or_none(_sum(costs, "output")),
        "totalCost": number(costs.get("total", 0.0)),
        "usagePricingTierId": generation.tier_id,
        "usagePricingTierName": generation.tier_name,
    }


def _sum(parts: dict[str, float], kind: str) -> float | None:
    found = [value for name, value in parts.items() if name.startswith(kind)]
    return sum(found) if found else None


def _metadata(row: sqlite3.Row, expanded: Collection[str]) -> dict[str, JsonValue]:
    own, origin = from_json(row["metadata"]), from_json(row["origin"])
    found = {**own, **origin} if isinstance(own, dict) and isinstance(origin, dict) else {}
    return {name: value if name in expanded else _cut(value) for name, value in found.items()}


def _cut(value: JsonValue) -> JsonValue:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value if len(text) <= MAX_METADATA_CHARS else text[:MAX_METADATA_CHARS]
