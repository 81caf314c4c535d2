"""Scores as `v3/scores`, experiments and experiment items answer them."""

import sqlite3
from collections.abc import Collection
from typing import Literal

from pydantic import JsonValue

from lfexp_mcp.store.clock import iso
from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.paging import from_json, number

ScoreField = Literal["details", "subject", "annotation"]


def score_shape(row: sqlite3.Row, fields: Collection[ScoreField]) -> dict[str, JsonValue]:
    """Build the answer's object of a score.

    Args:
        row: The row of `scores`.
        fields: The groups of fields to add to the core ones.
    """
    shape: dict[str, JsonValue] = {
        "id": row["id"],
        "projectId": PROJECT_ID,
        "name": row["name"],
        "source": row["source"],
        "timestamp": iso(row["timestamp"]),
        "environment": row["environment"],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
    if "details" in fields:
        shape["comment"] = row["comment"]
        shape["configId"] = row["config_id"]
        shape["metadata"] = from_json(row["metadata"]) or {}
    if "annotation" in fields:
        shape["authorUserId"] = row["author_user_id"]
        shape["queueId"] = row["queue_id"]
    if "subject" in fields:
        shape["subject"] = _subject(row)
    shape["dataType"] = row["data_type"]
    shape["value"] = _value(row)
    return shape


def _value(row: sqlite3.Row) -> JsonValue:
    match row["data_type"]:
        case "NUMERIC":
            return number(row["number"])
        case "BOOLEAN":
            return bool(row["number"])
        case _:
            return str(row["string"])


def _subject(row: sqlite3.Row) -> dict[str, JsonValue]:
    if row["observation_id"] is not None:
        return {"kind": "observation", "id": row["observation_id"], "traceId": row["trace_id"]}
    for kind in ("trace", "session", "experiment"):
        if row[f"{kind}_id"] is not None:
            return {"kind": kind, "id": row[f"{kind}_id"]}
    raise AssertionError(f"score {row['id']} has no subject")
