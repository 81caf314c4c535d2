"""Experiments and their items: `/api/public/experiments`, `/api/public/experiment-items`."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.filters import FilterColumn, apply_filter, parse_filter
from lfexp_mcp.store.paging import SPLIT_COMMAS, CommaList, Conditions, Cursor, cursor_time, decode_cursor, from_json
from lfexp_mcp.store.scores import score_json
from lfexp_mcp.store.times import Instant, iso, iso_or_none, parse_ms
from lfexp_mcp.strict_json import json_or_text

_ItemField = Literal["core", "dataset", "io", "metadata", "itemMetadata", "experimentMetadata", "scores"]


class ExperimentCursor(Cursor):
    """The last row of a page of experiments or of their items."""

    v: Literal[1] = 1
    last_time: str
    """In UTC, with microseconds, such as `2026-11-22 22:48:48.953000`."""
    last_trace_id: str
    last_id: str
    last_experiment_id: str


class _ExperimentQuery(Fields):
    limit: int = Field(default=50, ge=1, le=100)
    score_limit: int = Field(default=50, ge=1, le=50)
    cursor: str | None = None
    from_start_time: Instant
    to_start_time: Instant | None = None
    dataset_id: CommaList | None = None
    filter: str | None = None


class ExperimentsQuery(_ExperimentQuery):
    """Which experiments to list."""

    fields: Annotated[tuple[Literal["core", "metadata", "scores"], ...], SPLIT_COMMAS] = ("core",)
    id: CommaList | None = None
    name: CommaList | None = None


class ExperimentItemsQuery(_ExperimentQuery):
    """Which experiment items to list."""

    fields: Annotated[tuple[_ItemField, ...], SPLIT_COMMAS] = ("core", "dataset")
    experiment_id: CommaList | None = None
    experiment_name: CommaList | None = None
    experiment_item_id: CommaList | None = None


_EXPERIMENT_COLUMNS: Mapping[str, FilterColumn] = {
    "id": FilterColumn("id"),
    "name": FilterColumn("name"),
    "datasetId": FilterColumn("dataset_id"),
}
_ITEM_COLUMNS: Mapping[str, FilterColumn] = {
    "experimentId": FilterColumn("item.experiment_id"),
    "experimentName": FilterColumn("item.experiment_name"),
    "experimentItemId": FilterColumn("item.item_id"),
    "datasetId": FilterColumn("item.dataset_id"),
}


_ITEM_COLUMNS_OF: Mapping[_ItemField, str] = {
    "core": "trace_id, id, start_time, experiment_id, experiment_name, item_id",
    "dataset": "dataset_id, item_version",
    "io": "expected_output",
    "itemMetadata": "item_metadata",
    "experimentMetadata": "experiment_metadata, description",
}
"""Columns of `experiment_items` by the group of fields that they are answered in."""
_SPAN_COLUMNS_OF: Mapping[_ItemField, str] = {
    "core": "span.end_time, span.level, span.environment",
    "io": "span.input, span.output",
    "metadata": "span.metadata, span.origin",
}


def list_experiments(call: Call) -> JsonValue:
    """Return a page of experiments, the one with the latest span first."""
    query = call.query(ExperimentsQuery)
    conditions = Conditions()
    conditions.add("last_time >= ?", query.from_start_time)
    if query.to_start_time is not None:
        conditions.add("start_time < ?", query.to_start_time)
    conditions.one_of("id", query.id)
    conditions.one_of("name", query.name)
    conditions.one_of("dataset_id", query.dataset_id)
    _add_rest(conditions, query, _EXPERIMENT_COLUMNS, "(last_time, last_trace_id, last_id) < (?, ?, ?)")
    with call.database.read() as connection:
        rows = connection.execute(
            f"""
            SELECT *, (
                SELECT count(*) FROM experiment_items AS item WHERE item.experiment_id = experiments.id
            ) AS item_count
            FROM experiments {conditions.sql} ORDER BY last_time DESC, last_trace_id DESC, last_id DESC LIMIT ?
            """,  # noqa: S608
            [*conditions.parameters, query.limit + 1],
        ).fetchall()
        page = rows[: query.limit]
        scores = _experiment_scores(connection, [row["id"] for row in page]) if "scores" in query.fields else {}
    data: list[JsonValue] = [_experiment_json(row, query, scores.get(row["id"], [])) for row in page]
    return {"data": data, "meta": _meta(rows, query, "last_time", "last_trace_id", "last_id", "id")}


def _experiment_json(row: sqlite3.Row, query: ExperimentsQuery, scores: list[sqlite3.Row]) -> dict[str, JsonValue]:
    body: dict[str, JsonValue] = {
        "id": row["id"],
        "name": row["name"],
        "description": "",
        "startTime": iso(row["start_time"]),
        "endTime": iso(row["end_time"]),
        "itemCount": row["item_count"],
        "datasetId": row["dataset_id"],
    }
    if "metadata" in query.fields:
        body["metadata"] = _flat(row["metadata"])
    if "scores" in query.fields:
        body["scores"] = [score_json(score, ["subject"]) for score in scores[: query.score_limit]]
    return body


def list_experiment_items(call: Call) -> JsonValue:
    """Return a page of experiment items, newest first, repeats of an item included."""
    query = call.query(ExperimentItemsQuery)
    conditions = Conditions()
    conditions.between("item.start_time", query.from_start_time, query.to_start_time)
    conditions.one_of("item.experiment_id", query.experiment_id)
    conditions.one_of("item.experiment_name", query.experiment_name)
    conditions.one_of("item.item_id", query.experiment_item_id)
    conditions.one_of("item.dataset_id", query.dataset_id)
    _add_rest(conditions, query, _ITEM_COLUMNS, "(item.start_time, item.trace_id, item.id) < (?, ?, ?)")
    with call.database.read() as connection:
        rows = connection.execute(
            f"""
            WITH page AS MATERIALIZED (
                SELECT {_columns(_ITEM_COLUMNS_OF, query)} FROM experiment_items AS item {conditions.sql}
                ORDER BY item.start_time DESC, item.trace_id DESC, item.id DESC LIMIT ?
            )
            SELECT page.*, {_columns(_SPAN_COLUMNS_OF, query)}
            FROM page JOIN observations AS span ON span.trace_id = page.trace_id AND span.id = page.id
            ORDER BY page.start_time DESC, page.trace_id DESC, page.id DESC
            """,  # noqa: S608
            [*conditions.parameters, query.limit + 1],
        ).fetchall()
        page = rows[: query.limit]
        scores = _item_scores(connection, page) if "scores" in query.fields else {}
    data: list[JsonValue] = [_item_json(row, query, scores.get((row["trace_id"], row["id"]), [])) for row in page]
    return {"data": data, "meta": _meta(rows, query, "start_time", "trace_id", "id", "experiment_id")}


def _columns(columns: Mapping[_ItemField, str], query: ExperimentItemsQuery) -> str:
    """Leave out what may be large and is not asked for."""
    return ", ".join(names for field, names in columns.items() if field == "core" or field in query.fields)


def _item_json(row: sqlite3.Row, query: ExperimentItemsQuery, scores: list[sqlite3.Row]) -> dict[str, JsonValue]:
    body: dict[str, JsonValue] = {
        "id": row["id"],
        "traceId": row["trace_id"],
        "startTime": iso(row["start_time"]),
        "endTime": iso_or_none(row["end_time"]),
        "level": row["level"],
        "environment": row["environment"],
        "experimentId": row["experiment_id"],
        "experimentName": row["experiment_name"],
        "experimentItemId": row["item_id"],
    }
    if "dataset" in query.fields:
        body["experimentDatasetId"] = row["dataset_id"]
        body["experimentItemVersion"] = _version(row["item_version"])
    if "io" in query.fields:
        body["input"] = row["input"] or ""
        body["output"] = row["output"] or ""
        body["expectedOutput"] = row["expected_output"] or ""
    if "metadata" in query.fields:
        body["metadata"] = _encoded(row["metadata"], row["origin"])
    if "itemMetadata" in query.fields:
        body["experimentItemMetadata"] = _flat(row["item_metadata"])
    if "experimentMetadata" in query.fields:
        body["experimentMetadata"] = _flat(row["experiment_metadata"])
        body["experimentDescription"] = row["description"]
    if "scores" in query.fields:
        body["scores"] = [score_json(score, ["subject"]) for score in scores[: query.score_limit]]
    return body


def _version(text: str | None) -> str | None:
    try:
        return None if text is None else iso(parse_ms(text))
    except ValueError:
        return None


def _encoded(metadata: str, origin: str) -> dict[str, JsonValue]:
    """Write metadata as 4.16.0 does: each value as JSON in a string, those of resource and scope as they are."""
    own, foreign = from_json(metadata), from_json(origin)
    found: dict[str, JsonValue] = {}
    if isinstance(own, dict):
        found = {name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in own.items()}
    return {**found, **foreign} if isinstance(foreign, dict) else found


def _flat(text: str | None) -> dict[str, JsonValue]:
    """Write metadata flat: the members of objects under dotted names, every value as a string.

    It is kept as the span had it. If that is no JSON object there is no metadata, as on a Langfuse server.
    """
    value = json_or_text(text or "")
    found: dict[str, JsonValue] = {}

    def add(name: str, member: JsonValue) -> None:
        if isinstance(member, dict) and member:
            for key, inner in member.items():
                add(f"{name}.{key}" if name else key, inner)
        elif isinstance(member, str):
            found[name] = member
        else:
            found[name] = "" if member is None else json.dumps(member, ensure_ascii=False, separators=(",", ":"))

    if isinstance(value, dict):
        for key, member in value.items():
            add(key, member)
    return found


def _add_rest(
    conditions: Conditions, query: _ExperimentQuery, columns: Mapping[str, FilterColumn], keyset: str
) -> None:
    if query.filter is not None:
        apply_filter(conditions, parse_filter(query.filter), columns)
    if query.cursor is not None:
        cursor = decode_cursor(ExperimentCursor, query.cursor)
        conditions.add(keyset, cursor_time(cursor.last_time), cursor.last_trace_id, cursor.last_id)


def _meta(
    rows: Sequence[sqlite3.Row], query: _ExperimentQuery, time: str, trace_id: str, span_id: str, experiment_id: str
) -> dict[str, JsonValue]:
    if len(rows) <= query.limit:
        return {}
    last = rows[query.limit - 1]
    cursor = ExperimentCursor(
        last_time=iso(last[time]).replace("T", " ").replace("Z", "000"),
        last_trace_id=last[trace_id],
        last_id=last[span_id],
        last_experiment_id=last[experiment_id],
    )
    return {"cursor": cursor.encode()}


def _experiment_scores(connection: sqlite3.Connection, ids: list[str]) -> dict[str, list[sqlite3.Row]]:
    rows = connection.execute(
        """
        SELECT * FROM scores WHERE experiment_id IN (SELECT value FROM json_each(?))
        ORDER BY updated_at DESC, timestamp DESC, id DESC
        """,
        (json.dumps(ids),),
    )
    found: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        found.setdefault(row["experiment_id"], []).append(row)
    return found


def _item_scores(
    connection: sqlite3.Connection, items: Sequence[sqlite3.Row]
) -> dict[tuple[str, str], list[sqlite3.Row]]:
    """Read the scores of items: those of the span, and those of its whole trace."""
    rows = connection.execute(
        """
        SELECT * FROM scores WHERE trace_id IN (SELECT value FROM json_each(?))
        ORDER BY updated_at DESC, timestamp DESC, id DESC
        """,
        (json.dumps([item["trace_id"] for item in items]),),
    )
    of_trace: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        of_trace.setdefault(row["trace_id"], []).append(row)
    return {
        (item["trace_id"], item["id"]): [
            row for row in of_trace.get(item["trace_id"], []) if row["observation_id"] in (None, item["id"])
        ]
        for item in items
    }
