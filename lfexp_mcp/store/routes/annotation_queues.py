"""Annotation queues and their items: `/api/public/annotation-queues`."""

import json
import secrets
import sqlite3
from typing import Literal

from pydantic import Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.http_errors import BadRequestError, NotFoundError
from lfexp_mcp.store.paging import Conditions, PageQuery, from_json, get_row, insert, page_of
from lfexp_mcp.store.times import iso, iso_or_none, now_ms

Status = Literal["PENDING", "COMPLETED"]


class QueueBody(Fields):
    """A new queue."""

    name: str = Field(min_length=1)
    description: str | None = None
    score_config_ids: list[str] = Field(min_length=1)


class QueueItemBody(Fields):
    """A new item of a queue."""

    object_id: str
    object_type: Literal["TRACE", "OBSERVATION", "SESSION"]
    status: Status = "PENDING"


class QueueItemPatch(Fields):
    """A change to an item of a queue."""

    status: Status | None = None


class QueueItemsQuery(PageQuery):
    """Which items of a queue to list."""

    status: Status | None = None


def create_queue(call: Call) -> JsonValue:
    """Create a queue for scores of some configs."""
    body = call.body(QueueBody)
    now = now_ms()
    with call.database.write() as connection:
        for config_id in body.score_config_ids:
            if connection.execute("SELECT 1 FROM score_configs WHERE id = ?", (config_id,)).fetchone() is None:
                raise BadRequestError("At least one of the score config IDs cannot be found for the given project.")
        if connection.execute("SELECT 1 FROM annotation_queues WHERE name = ?", (body.name,)).fetchone():
            raise BadRequestError("A queue with this name already exists.")
        row = insert(
            connection,
            "annotation_queues",
            id=secrets.token_hex(12),
            name=body.name,
            description=body.description,
            score_config_ids=json.dumps(body.score_config_ids),
            created_at=now,
            updated_at=now,
        )
        return _queue_json(row)


def get_queue(call: Call) -> JsonValue:
    """Return a queue by its id."""
    with call.database.read() as connection:
        return _queue_json(_queue(connection, call.path("queue")))


def list_queues(call: Call) -> JsonValue:
    """Return a page of queues, newest first."""
    query = call.query(PageQuery)
    with call.database.read() as connection:
        return page_of(connection, query, "annotation_queues", Conditions(), "seq DESC", _queue_json)


def create_queue_item(call: Call) -> JsonValue:
    """Add something to a queue."""
    body = call.body(QueueItemBody)
    now = now_ms()
    with call.database.write() as connection:
        queue = _queue(connection, call.path("queue"))
        row = insert(
            connection,
            "annotation_queue_items",
            id=secrets.token_hex(12),
            queue_id=queue["id"],
            object_id=body.object_id,
            object_type=body.object_type,
            status=body.status,
            completed_at=now if body.status == "COMPLETED" else None,
            created_at=now,
            updated_at=now,
        )
        return _item_json(row)


def list_queue_items(call: Call) -> JsonValue:
    """Return a page of a queue's items, newest first."""
    query = call.query(QueueItemsQuery)
    conditions = Conditions()
    with call.database.read() as connection:
        conditions.equal("queue_id", _queue(connection, call.path("queue"))["id"])
        conditions.equal("status", query.status)
        return page_of(connection, query, "annotation_queue_items", conditions, "seq DESC", _item_json)


def get_queue_item(call: Call) -> JsonValue:
    """Return one item of a queue."""
    with call.database.read() as connection:
        return _item_json(_item(connection, call.path("queue"), call.path("item")))


def update_queue_item(call: Call) -> JsonValue:
    """Mark an item of a queue as completed, or as pending again."""
    body = call.body(QueueItemPatch)
    with call.database.write() as connection:
        item = _item(connection, call.path("queue"), call.path("item"))
        if body.status is not None:
            now = now_ms()
            # An item that is pending again keeps the time at which it was completed.
            completed = now if body.status == "COMPLETED" else item["completed_at"]
            connection.execute(
                "UPDATE annotation_queue_items SET status = ?, completed_at = ?, updated_at = ? WHERE id = ?",
                (body.status, completed, now, item["id"]),
            )
        return _item_json(_item(connection, item["queue_id"], item["id"]))


def delete_queue_item(call: Call) -> JsonValue:
    """Remove an item from a queue."""
    with call.database.write() as connection:
        item = _item(connection, call.path("queue"), call.path("item"))
        connection.execute("DELETE FROM annotation_queue_items WHERE id = ?", (item["id"],))
    return {"success": True, "message": "Annotation queue item deleted successfully"}


def _queue(connection: sqlite3.Connection, queue_id: str) -> sqlite3.Row:
    return get_row(connection, "annotation_queues", queue_id, "Annotation queue not found")


def _item(connection: sqlite3.Connection, queue_id: str, item_id: str) -> sqlite3.Row:
    missing = "Annotation queue item not found"
    row = get_row(connection, "annotation_queue_items", item_id, missing)
    if row["queue_id"] != queue_id:
        raise NotFoundError(missing)
    return row


def _queue_json(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "scoreConfigIds": from_json(row["score_config_ids"]),
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }


def _item_json(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "id": row["id"],
        "queueId": row["queue_id"],
        "objectId": row["object_id"],
        "objectType": row["object_type"],
        "status": row["status"],
        "completedAt": iso_or_none(row["completed_at"]),
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
