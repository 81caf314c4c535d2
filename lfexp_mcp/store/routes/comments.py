"""Comments on traces, observations, sessions and prompts: `/api/public/comments`."""

import sqlite3
import uuid
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.http_errors import InvalidRequestError, NotFoundError
from lfexp_mcp.store.paging import Conditions, PageQuery, get_row, insert, page_of
from lfexp_mcp.store.times import iso, now_ms

MAX_CONTENT_CHARS = 5000


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


ObjectType = Annotated[Literal["TRACE", "OBSERVATION", "SESSION", "PROMPT"], BeforeValidator(_upper)]

_OBJECTS = {
    "TRACE": "SELECT 1 FROM observations WHERE trace_id = ?",
    "OBSERVATION": "SELECT 1 FROM observations WHERE id = ?",
    "SESSION": "SELECT 1 FROM observations WHERE session_id = ?",
    "PROMPT": "SELECT 1 FROM prompts WHERE id = ?",
}


class CommentBody(Fields):
    """A new comment."""

    project_id: str
    object_type: ObjectType
    object_id: str
    content: str = Field(min_length=1, max_length=MAX_CONTENT_CHARS)
    author_user_id: str | None = None


class CommentsQuery(PageQuery):
    """Which comments to list."""

    object_type: ObjectType | None = None
    object_id: str | None = None
    author_user_id: str | None = None


def create_comment(call: Call) -> JsonValue:
    """Store a comment on something that exists."""
    body = call.body(CommentBody)
    comment_id, now = str(uuid.uuid4()), now_ms()
    with call.database.write() as connection:
        if connection.execute(f"{_OBJECTS[body.object_type]} LIMIT 1", (body.object_id,)).fetchone() is None:
            raise NotFoundError(
                f"Reference object, {body.object_type}: {body.object_id} not found. No comment was created."
            )
        values = body.model_dump(exclude={"project_id"})
        insert(connection, "comments", id=comment_id, **values, created_at=now, updated_at=now)
    return {"id": comment_id}


def list_comments(call: Call) -> JsonValue:
    """Return a page of comments, oldest first."""
    query = call.query(CommentsQuery)
    if query.object_id is not None and query.object_type is None:
        raise InvalidRequestError.at("objectType", "objectType is required when objectId is provided")
    conditions = Conditions()
    conditions.equal("object_type", query.object_type)
    conditions.equal("object_id", query.object_id)
    conditions.equal("author_user_id", query.author_user_id)
    with call.database.read() as connection:
        return page_of(connection, query, "comments", conditions, "seq", _json)


def get_comment(call: Call) -> JsonValue:
    """Return a comment by its id."""
    with call.database.read() as connection:
        return _json(get_row(connection, "comments", call.path("id"), "Comment not found within authorized project"))


def _json(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "id": row["id"],
        "projectId": PROJECT_ID,
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
        "objectType": row["object_type"],
        "objectId": row["object_id"],
        "content": row["content"],
        "authorUserId": row["author_user_id"],
    }
