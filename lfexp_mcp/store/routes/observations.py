"""Observations: `/api/public/v2/observations`, and their ingestion as OTLP: `/api/public/otel/v1/traces`."""

import sqlite3
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.filters import FilterColumn, apply_filter, parse_filter
from lfexp_mcp.store.http_errors import ApiError, InvalidRequestError
from lfexp_mcp.store.ingest import ingest
from lfexp_mcp.store.observations import ObservationField, observation_json
from lfexp_mcp.store.otlp import read_json, read_protobuf
from lfexp_mcp.store.paging import SPLIT_COMMAS, CommaList, Conditions, Cursor, cursor_time, decode_cursor
from lfexp_mcp.store.times import Instant, iso


class ObservationCursor(Cursor):
    """The last row of a page of observations."""

    last_start_time_to: str
    last_trace_id: str
    last_id: str


class ObservationsQuery(Fields):
    """Which observations to list."""

    fields: Annotated[tuple[ObservationField, ...], SPLIT_COMMAS] = ("core", "basic")
    expand_metadata: CommaList = Field(default_factory=list)
    limit: int = Field(default=50, ge=1, le=1000)
    cursor: str | None = None
    parse_io_as_json: Literal["true", "false"] | None = None
    name: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    type: str | None = None
    trace_id: str | None = None
    level: Literal["DEBUG", "DEFAULT", "WARNING", "ERROR"] | None = None
    parent_observation_id: str | None = None
    is_root_observation: bool | None = None
    environment: CommaList | None = None
    from_start_time: Instant | None = None
    to_start_time: Instant | None = None
    version: str | None = None
    filter: str | None = None


_OUTPUT_TOKENS = "json_extract(generation, '$.usage.output')"
_SECONDS = "((end_time - start_time) / 1000.0)"

_COLUMNS: Mapping[str, FilterColumn] = {
    "id": FilterColumn("id"),
    "type": FilterColumn("type"),
    "name": FilterColumn("name"),
    "traceId": FilterColumn("trace_id"),
    "parentObservationId": FilterColumn("parent_id"),
    "startTime": FilterColumn("start_time", "datetime"),
    "endTime": FilterColumn("end_time", "datetime"),
    "environment": FilterColumn("environment"),
    "level": FilterColumn("level"),
    "statusMessage": FilterColumn("status_message"),
    "version": FilterColumn("version"),
    "userId": FilterColumn("user_id"),
    "sessionId": FilterColumn("session_id"),
    "isRootObservation": FilterColumn("is_root", "boolean"),
    "traceName": FilterColumn("trace_name"),
    "traceTags": FilterColumn("tags", "array"),
    "tags": FilterColumn("tags", "array"),
    "latency": FilterColumn(_SECONDS, "number"),
    "timeToFirstToken": FilterColumn(
        "((json_extract(generation, '$.completionStart') - start_time) / 1000.0)", "number"
    ),
    "tokensPerSecond": FilterColumn(f"({_OUTPUT_TOKENS} / nullif({_SECONDS}, 0))", "number"),
    "inputTokens": FilterColumn("json_extract(generation, '$.usage.input')", "number"),
    "outputTokens": FilterColumn(_OUTPUT_TOKENS, "number"),
    "totalTokens": FilterColumn("json_extract(generation, '$.usage.total')", "number"),
    "tokens": FilterColumn("json_extract(generation, '$.usage.total')", "number"),
    "inputCost": FilterColumn("json_extract(generation, '$.costs.input')", "number"),
    "outputCost": FilterColumn("json_extract(generation, '$.costs.output')", "number"),
    "totalCost": FilterColumn("total_cost", "number"),
    "model": FilterColumn("json_extract(generation, '$.model')"),
    "providedModelName": FilterColumn("json_extract(generation, '$.model')"),
    "promptName": FilterColumn("json_extract(generation, '$.prompt')"),
    "promptVersion": FilterColumn("json_extract(generation, '$.promptVersion')", "number"),
    "input": FilterColumn("input"),
    "output": FilterColumn("output"),
    "metadata": FilterColumn("json_patch(metadata, origin)", "object"),
}


def list_observations(call: Call) -> JsonValue:
    """Return a page of observations, newest first."""
    query = call.query(ObservationsQuery)
    if query.parse_io_as_json == "true":
        raise InvalidRequestError.at(
            "parseIoAsJson",
            "parseIoAsJson=true is no longer supported on the v2 observations endpoint. Input/output fields are always "
            "returned as raw strings. Remove the parseIoAsJson parameter or set it to false.",
        )
    conditions = _conditions(query)
    if query.cursor is not None:
        _after(conditions, query.cursor)
    with call.database.read() as connection:
        rows = connection.execute(
            f"""
            SELECT * FROM observations {conditions.sql}
            ORDER BY start_time DESC, trace_id DESC, id DESC LIMIT ?
            """,  # noqa: S608
            [*conditions.parameters, query.limit + 1],
        ).fetchall()
    page = rows[: query.limit]
    data: list[JsonValue] = [observation_json(row, query.fields, query.expand_metadata) for row in page]
    return {"data": data, "meta": {"cursor": _cursor(page[-1])} if len(rows) > query.limit else {}}


def _conditions(query: ObservationsQuery) -> Conditions:
    """Combine the parameters with the structured filter, which takes precedence for the columns that it names."""
    conditions = Conditions()
    asked = parse_filter(query.filter) if query.filter is not None else []
    apply_filter(conditions, asked, _COLUMNS)
    filtered = {condition.column for condition in asked}
    for name, value in (
        ("name", query.name),
        ("userId", query.user_id),
        ("sessionId", query.session_id),
        ("type", query.type),
        ("traceId", query.trace_id),
        ("level", query.level),
        ("version", query.version),
    ):
        if name not in filtered:
            conditions.equal(_COLUMNS[name].sql, value)
    if "environment" not in filtered:
        conditions.one_of("environment", query.environment)
    if "startTime" not in filtered:
        conditions.between("start_time", query.from_start_time, query.to_start_time)
    if "parentObservationId" in filtered:
        pass
    elif query.parent_observation_id == "":
        conditions.add("parent_id IS NULL")
    else:
        conditions.equal("parent_id", query.parent_observation_id)
    if query.is_root_observation is not None and "isRootObservation" not in filtered:
        # SQLite uses the index of the roots only for a literal, not for a parameter.
        conditions.add("is_root = 1" if query.is_root_observation else "is_root = 0")
    return conditions


def _after(conditions: Conditions, text: str) -> None:
    cursor = decode_cursor(ObservationCursor, text)
    start_time = cursor_time(cursor.last_start_time_to)
    conditions.add("(start_time, trace_id, id) < (?, ?, ?)", start_time, cursor.last_trace_id, cursor.last_id)


def _cursor(row: sqlite3.Row) -> str:
    return ObservationCursor(
        last_start_time_to=iso(row["start_time"]), last_trace_id=row["trace_id"], last_id=row["id"]
    ).encode()


def export_traces(call: Call) -> JsonValue:
    """Store the spans of an export request, all or none."""
    media_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/x-protobuf":
        spans = read_protobuf(call.content)
    elif media_type == "application/json":
        spans = read_json(call.json())
    else:
        raise ApiError(
            415, {"message": f"Unsupported content type {media_type!r}", "error": "UnsupportedMediaTypeError"}
        )
    if spans:
        with call.database.write() as connection:
            ingest(connection, spans)
    return {}
