"""Datasets: `/api/public/v2/datasets`."""

import re
import secrets
import sqlite3
from urllib.parse import unquote

from pydantic import Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.http_errors import ApiError, NotFoundError
from lfexp_mcp.store.paging import Conditions, PageQuery, from_json, page_of, to_json
from lfexp_mcp.store.times import iso, now_ms

_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


class DatasetBody(Fields):
    """A new or changed dataset."""

    name: str = Field(min_length=1)
    description: str | None = None
    metadata: JsonValue = None
    input_schema: JsonValue = None
    expected_output_schema: JsonValue = None


def create_dataset(call: Call) -> JsonValue:
    """Create the dataset, or change the one that has the name: what the body leaves out stays."""
    body = call.body(DatasetBody)
    now = now_ms()
    with call.database.write() as connection:
        connection.execute(
            """
            INSERT INTO datasets
                (id, name, description, metadata, input_schema, expected_output_schema, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET
                description = ifnull(excluded.description, description),
                metadata = ifnull(excluded.metadata, metadata),
                input_schema = ifnull(excluded.input_schema, input_schema),
                expected_output_schema = ifnull(excluded.expected_output_schema, expected_output_schema),
                updated_at = excluded.updated_at
            """,
            (
                secrets.token_hex(12),
                body.name,
                body.description,
                to_json(body.metadata),
                to_json(body.input_schema),
                to_json(body.expected_output_schema),
                now,
                now,
            ),
        )
        return _json(named_dataset(connection, body.name))


def get_dataset(call: Call) -> JsonValue:
    """Return a dataset by its name; Langfuse decodes its path once more than other paths (seen on 4.16.0)."""
    name = _decoded_again(call.path("name"))
    with call.database.read() as connection:
        return _json(named_dataset(connection, name))


def _decoded_again(name: str) -> str:
    """Decode as JavaScript's `decodeURIComponent`; where that throws, a Langfuse server answers 500.

    Raises:
        ApiError: A percent sign does not begin an encoded character.
    """
    try:
        if _STRAY_PERCENT.search(name) is None:
            return unquote(name, errors="strict")
    except UnicodeDecodeError:
        pass
    raise ApiError(500, {"message": "Internal Server Error", "error": "URIError: URI malformed"})


def list_datasets(call: Call) -> JsonValue:
    """Return a page of datasets, newest first."""
    query = call.query(PageQuery)
    with call.database.read() as connection:
        return page_of(connection, query, "datasets", Conditions(), "created_at DESC, rowid DESC", _json)


def named_dataset(connection: sqlite3.Connection, name: str) -> sqlite3.Row:
    """Return the row of a dataset.

    Raises:
        NotFoundError: There is no dataset of that name.
    """
    row: sqlite3.Row | None = connection.execute("SELECT * FROM datasets WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFoundError("Dataset not found")
    return row


def _json(row: sqlite3.Row) -> dict[str, JsonValue]:
    return {
        "id": row["id"],
        "projectId": PROJECT_ID,
        "name": row["name"],
        "description": row["description"],
        "metadata": from_json(row["metadata"]),
        "inputSchema": from_json(row["input_schema"]),
        "expectedOutputSchema": from_json(row["expected_output_schema"]),
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
