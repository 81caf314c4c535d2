"""Dataset items: `/api/public/dataset-items`. Each write makes a version, so that the state at any time can be read."""

import re
import sqlite3
import uuid
from contextlib import suppress
from typing import Literal

from pydantic import Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.database import SqlValue
from lfexp_mcp.store.http_errors import ConflictError, InvalidRequestError, NotFoundError
from lfexp_mcp.store.paging import Conditions, PageQuery, from_json, page_of, to_json
from lfexp_mcp.store.routes.datasets import named_dataset
from lfexp_mcp.store.times import Instant, iso, now_ms
from lfexp_mcp.strict_json import may_be_json, strict_loads

_SOURCE = "dataset_item_versions AS item"
_COLUMNS = "item.*, (SELECT name FROM datasets WHERE id = item.dataset_id) AS dataset_name"

_NEWEST_FIRST = ("item.valid_from", "item.seq")

_INSERT = """
    INSERT INTO dataset_item_versions
        (id, dataset_id, status, input, expected_output, metadata, source_trace_id, source_observation_id, valid_from)
    VALUES
        (:id, :dataset_id, :status, :input, :expected_output, :metadata, :source_trace_id, :source_observation_id,
         :valid_from)
    RETURNING *, :dataset_name AS dataset_name
"""


class ItemBody(Fields):
    """A new or changed dataset item, of a dataset that is known."""

    id: str | None = Field(default=None, min_length=1, max_length=255)
    input: JsonValue = None
    expected_output: JsonValue = None
    metadata: JsonValue = None
    source_trace_id: str | None = None
    source_observation_id: str | None = None
    status: Literal["ACTIVE", "ARCHIVED"] | None = None


class DatasetItemBody(ItemBody):
    """A new or changed dataset item."""

    dataset_name: str


class DatasetItemsBody(Fields):
    """New or changed items of one dataset."""

    dataset_name: str
    items: list[ItemBody]


class DatasetItemsQuery(PageQuery):
    """Which dataset items to list."""

    dataset_name: str | None = None
    source_trace_id: str | None = None
    source_observation_id: str | None = None
    version: Instant | None = None


def create_item(call: Call) -> JsonValue:
    """Create the item, or change the one that has the id: what the body leaves out stays."""
    body = call.body(DatasetItemBody)
    with call.database.write() as connection:
        return _store(connection, named_dataset(connection, body.dataset_name), body)


def create_items(call: Call) -> JsonValue:
    """Do what `create_item` does for each of a list of items, in this order, or for none of them if one is refused."""
    body = call.body(DatasetItemsBody)
    with call.database.write() as connection:
        dataset = named_dataset(connection, body.dataset_name)
        return {"data": [_store(connection, dataset, item) for item in body.items]}


def _store(connection: sqlite3.Connection, dataset: sqlite3.Row, body: ItemBody) -> dict[str, JsonValue]:
    item_id, now = body.id or str(uuid.uuid4()), now_ms()
    before = _current(connection, item_id)
    if before is not None:
        if before["dataset_id"] != dataset["id"]:
            raise ConflictError(
                f"The dataset item with id {item_id} already exists in a dataset other than {dataset['name']}"
            )
        connection.execute("UPDATE dataset_item_versions SET valid_to = ? WHERE seq = ?", (now, before["seq"]))
    values = {"id": item_id, "dataset_id": dataset["id"], "dataset_name": dataset["name"], "valid_from": now}
    return _json(connection.execute(_INSERT, values | _merged(body, before)).fetchone())


def _merged(body: ItemBody, before: sqlite3.Row | None) -> dict[str, SqlValue]:
    values: dict[str, SqlValue] = {
        "status": body.status,
        "input": to_json(normalize(body.input)),
        "expected_output": to_json(normalize(body.expected_output)),
        "metadata": to_json(normalize(body.metadata)),
        "source_trace_id": body.source_trace_id,
        "source_observation_id": body.source_observation_id,
    }
    if before is not None:
        values = {name: before[name] if value is None else value for name, value in values.items()}
    return values if values["status"] else {**values, "status": "ACTIVE"}


def normalize(value: JsonValue) -> JsonValue:
    """Return what a Langfuse server stores of a value (seen on 4.16.0).

    Text that is valid JSON is parsed, empty text becomes None, and control characters are removed from texts, but not
    tabs, line breaks and form feeds, nor from names.
    """
    if value == "":
        return None
    if isinstance(value, str) and may_be_json(value):
        with suppress(ValueError):
            value = strict_loads(value)
    return _without_control(value)


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


def _without_control(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return _CONTROL.sub("", value)
        case list():
            return [_without_control(each) for each in value]
        case dict():
            return {key: _without_control(each) for key, each in value.items()}
        case _:
            return value


def get_item(call: Call) -> JsonValue:
    """Return an item by its id, even an archived one."""
    with call.database.read() as connection:
        return _json(_found(connection, call.path("id")))


def delete_item(call: Call) -> JsonValue:
    """Delete an item; its past versions stay readable."""
    item_id = call.path("id")
    with call.database.write() as connection:
        _found(connection, item_id)
        connection.execute(
            "UPDATE dataset_item_versions SET valid_to = ? WHERE id = ? AND valid_to IS NULL", (now_ms(), item_id)
        )
    return {"message": "Dataset item successfully deleted"}


def list_items(call: Call) -> JsonValue:
    """Return a page of the items that are not archived, newest first; with `version`, as they were then."""
    query = call.query(DatasetItemsQuery)
    if query.version is not None and query.dataset_name is None:
        raise InvalidRequestError.at("datasetName", "datasetName is required when version is provided")
    conditions, source = Conditions(), _SOURCE
    with call.database.read() as connection:
        if query.dataset_name is not None:
            conditions.equal("item.dataset_id", named_dataset(connection, query.dataset_name)["id"])
        if query.version is None:
            conditions.add("item.valid_to IS NULL")
            # The planner would take an index without the status, and read each row of the dataset for each page.
            source += f" INDEXED BY active_items{'' if query.dataset_name is None else '_of_dataset'}"
        else:
            conditions.add("item.valid_from <= ?", query.version)
            conditions.add("(item.valid_to IS NULL OR item.valid_to > ?)", query.version)
        conditions.add("item.status = 'ACTIVE'")
        conditions.equal("item.source_trace_id", query.source_trace_id)
        conditions.equal("item.source_observation_id", query.source_observation_id)
        order = ", ".join(f"{column} DESC" for column in _NEWEST_FIRST)
        return page_of(connection, query, source, conditions, order, _json, _COLUMNS, _NEWEST_FIRST)


def _current(connection: sqlite3.Connection, item_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE item.id = ? AND item.valid_to IS NULL",  # noqa: S608
        (item_id,),
    ).fetchone()
    return row


def _found(connection: sqlite3.Connection, item_id: str) -> sqlite3.Row:
    row = _current(connection, item_id)
    if row is None:
        raise NotFoundError("Dataset item not found")
    return row


def _json(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "id": row["id"],
        "datasetId": row["dataset_id"],
        "status": row["status"],
        "sourceTraceId": row["source_trace_id"],
        "sourceObservationId": row["source_observation_id"],
        "createdAt": iso(row["valid_from"]),
        "updatedAt": iso(row["valid_from"]),
        "input": from_json(row["input"]),
        "expectedOutput": from_json(row["expected_output"]),
        "metadata": from_json(row["metadata"]),
        "datasetName": row["dataset_name"],
        "mediaReferences": [],
    }
