"""Score configs: `/api/public/score-configs`."""

import re
import sqlite3
import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.http_errors import InvalidRequestError
from lfexp_mcp.store.paging import Conditions, PageQuery, from_json, get_row, insert, number_or_none, page_of, to_json
from lfexp_mcp.store.times import iso, now_ms

_NAME = re.compile(r"[\w .()-]+")


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("Name contains invalid characters")
    return name


ConfigName = Annotated[str, Field(min_length=1, max_length=35), AfterValidator(_checked_name)]


class Category(Fields):
    """One value of a categorical score."""

    label: str = Field(min_length=1)
    value: float = Field(allow_inf_nan=False)


class _ScoreConfig(Fields):
    categories: list[Category] | None = None
    min_value: float | None = Field(default=None, allow_inf_nan=False)
    max_value: float | None = Field(default=None, allow_inf_nan=False)
    description: str | None = None


class ScoreConfigBody(_ScoreConfig):
    """A new score config."""

    name: ConfigName
    data_type: Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT"]


class ScoreConfigPatch(_ScoreConfig):
    """A change to a score config; what it leaves out stays."""

    name: ConfigName | None = None
    is_archived: bool | None = None


_BOOLEAN = [Category(label="True", value=1), Category(label="False", value=0)]


def create_score_config(call: Call) -> JsonValue:
    """Create a score config; names need not be unique."""
    body = call.body(ScoreConfigBody)
    _check(body.data_type, body)
    categories = _BOOLEAN if body.data_type == "BOOLEAN" else body.categories
    now = now_ms()
    with call.database.write() as connection:
        row = insert(
            connection,
            "score_configs",
            id=str(uuid.uuid4()),
            is_archived=False,
            **body.model_dump(exclude={"categories"}),
            categories=_stored(categories),
            created_at=now,
            updated_at=now,
        )
        return _json(row)


def get_score_config(call: Call) -> JsonValue:
    """Return a config by its id."""
    with call.database.read() as connection:
        return _json(_found(connection, call.path("id")))


def list_score_configs(call: Call) -> JsonValue:
    """Return a page of configs, newest first."""
    query = call.query(PageQuery)
    with call.database.read() as connection:
        return page_of(connection, query, "score_configs", Conditions(), "seq DESC", _json)


def update_score_config(call: Call) -> JsonValue:
    """Change a config."""
    body = call.body(ScoreConfigPatch)
    if not body.model_fields_set:
        raise InvalidRequestError.at(
            "", "Request body cannot be empty. At least one field must be provided for update."
        )
    with call.database.write() as connection:
        row = _found(connection, call.path("id"))
        _check(row["data_type"], body, row["min_value"], row["max_value"])
        connection.execute(
            """
            UPDATE score_configs SET
                name = ifnull(:name, name), is_archived = ifnull(:is_archived, is_archived),
                min_value = ifnull(:min_value, min_value), max_value = ifnull(:max_value, max_value),
                categories = ifnull(:categories, categories), description = ifnull(:description, description),
                updated_at = :updated_at
            WHERE id = :id
            """,
            {
                **body.model_dump(exclude={"categories"}),
                "categories": _stored(body.categories),
                "updated_at": now_ms(),
                "id": row["id"],
            },
        )
        return _json(_found(connection, row["id"]))


def _check(data_type: str, body: _ScoreConfig, low: float | None = None, high: float | None = None) -> None:
    """Refuse what a config of this type cannot have, with the range that it has already."""
    low = low if body.min_value is None else body.min_value
    high = high if body.max_value is None else body.max_value
    is_new = isinstance(body, ScoreConfigBody)
    if data_type == "CATEGORICAL":
        categories = body.categories or ()
        labels, values = ({getattr(each, key) for each in categories} for key in ("label", "value"))
        if len(labels) < len(categories) or len(values) < len(categories) or (is_new and not labels):
            raise InvalidRequestError.at(
                "categories", "Category must be an array of objects with unique labels and values"
            )
    elif body.categories is not None:
        raise InvalidRequestError.at("categories", f"Custom categories are not supported for data type {data_type}")
    if data_type in ("CATEGORICAL", "TEXT") and (low, high) != (None, None):
        raise InvalidRequestError.at("minValue", f"A range is not supported for data type {data_type}")
    if data_type == "NUMERIC" and low is not None and high is not None and low >= high:
        raise InvalidRequestError.at("maxValue", "Maximum value must be greater than Minimum value")


def _stored(categories: list[Category] | None) -> str | None:
    return None if categories is None else to_json([{"label": each.label, "value": each.value} for each in categories])


def _found(connection: sqlite3.Connection, config_id: str) -> sqlite3.Row:
    return get_row(connection, "score_configs", config_id, "Score config not found within authorized project")


def _json(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "id": row["id"],
        "name": row["name"],
        "isArchived": bool(row["is_archived"]),
        "description": row["description"],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
        "projectId": PROJECT_ID,
        "minValue": number_or_none(row["min_value"]),
        "maxValue": number_or_none(row["max_value"]),
        "dataType": row["data_type"],
        "categories": from_json(row["categories"]),
    }
