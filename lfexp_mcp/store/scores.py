"""Scores as they are posted, stored and answered."""

import sqlite3
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StrictFloat, StrictInt, StrictStr

from lfexp_mcp.store.call import Fields
from lfexp_mcp.store.database import SqlValue
from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.http_errors import InvalidRequestError
from lfexp_mcp.store.paging import from_json, number, to_json
from lfexp_mcp.store.times import Instant, iso, now_ms

DataType = Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT", "CORRECTION"]
MAX_TEXT_CHARS = 500
"""Of the value of a TEXT score."""


class ScoreBody(Fields):
    """A score as it is posted."""

    id: str | None = None
    name: Annotated[str, Field(min_length=1)]
    value: StrictInt | StrictFloat | StrictStr
    data_type: DataType | None = None
    trace_id: str | None = None
    observation_id: str | None = None
    session_id: str | None = None
    dataset_run_id: str | None = None
    comment: str | None = None
    metadata: JsonValue = None
    environment: str | None = None
    config_id: str | None = None
    queue_id: str | None = None
    source: Literal["API", "ANNOTATION"] | None = None
    timestamp: Instant | None = None


def check_score(score: ScoreBody) -> None:
    """Check that a score can be accepted.

    Raises:
        InvalidRequestError: It breaks a rule.
    """
    if score.source == "ANNOTATION" and score.config_id is None and score.data_type != "CORRECTION":
        raise InvalidRequestError.at(
            "configId", "configId is required when source is ANNOTATION (except for CORRECTION scores)."
        )
    subjects = [subject for subject in (score.trace_id, score.session_id, score.dataset_run_id) if subject]
    if len(subjects) != 1:
        raise InvalidRequestError.at("", "Provide exactly one of the following: traceId, sessionId, datasetRunId.")
    if score.observation_id and not score.trace_id:
        raise InvalidRequestError.at("observationId", "observationId requires traceId.")
    _check_value(score)


def _check_value(score: ScoreBody) -> None:
    is_text = isinstance(score.value, str)
    match score.data_type:
        case "NUMERIC" if is_text:
            raise InvalidRequestError.at("value", "Invalid input: expected number, received string")
        case "BOOLEAN" if score.value not in (0, 1):
            raise InvalidRequestError.at("value", "Value must be a number equal to either 0 or 1 for data type BOOLEAN")
        case "CATEGORICAL" | "CORRECTION" if not is_text:
            raise InvalidRequestError.at("value", "Invalid input: expected string, received number")
        case "TEXT" if not is_text or not 1 <= len(str(score.value)) <= MAX_TEXT_CHARS:
            raise InvalidRequestError.at(
                "value", f"Text score values must be between 1 and {MAX_TEXT_CHARS} characters"
            )
        case _:
            return


def store_scores(connection: sqlite3.Connection, scores: Sequence[ScoreBody]) -> list[str]:
    """Store accepted scores; a score with an id that exists is merged: what it leaves out stays.

    A score that does not match its config is silently dropped, as on a Langfuse server.

    Args:
        connection: A connection in a write transaction.
        scores: Scores that `check_score` accepts.

    Returns:
        The id of each score.
    """
    configs = _configs(connection, {score.config_id for score in scores if score.config_id})
    now = now_ms()
    ids = [score.id or str(uuid.uuid4()) for score in scores]
    rows = (_row(score_id, score, configs, now) for score_id, score in zip(ids, scores, strict=True))
    connection.executemany(_INSERT, [row for row in rows if row is not None])
    return ids


_COLUMNS = (
    "id", "name", "data_type", "number", "string", "source", "comment", "metadata", "environment", "trace_id",
    "observation_id", "session_id", "experiment_id", "config_id", "queue_id", "timestamp", "created_at",
    "updated_at",
)  # fmt: skip
_REPLACED = ("name", "data_type", "number", "string", "source", "updated_at")
_MERGED = ("comment", "metadata", "observation_id", "session_id", "experiment_id", "config_id", "queue_id")
_INSERT = (
    f"INSERT INTO scores ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(
        [f"{column} = excluded.{column}" for column in _REPLACED]
        + [f"{column} = ifnull(excluded.{column}, {column})" for column in _MERGED]
    )
)


def _configs(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, sqlite3.Row]:
    found = (connection.execute("SELECT * FROM score_configs WHERE id = ?", (each,)).fetchone() for each in ids)
    return {row["id"]: row for row in found if row is not None}


def _row(score_id: str, score: ScoreBody, configs: dict[str, sqlite3.Row], now: int) -> tuple[SqlValue, ...] | None:
    name, kind = score.name, score.data_type or ("CATEGORICAL" if isinstance(score.value, str) else "NUMERIC")
    numeric = None if isinstance(score.value, str) else float(score.value)
    string = score.value if isinstance(score.value, str) else None
    if kind == "CORRECTION":
        name = "output"
    if score.config_id:
        config = configs.get(score.config_id)
        if config is None or not _matches(score, config):
            return None
        name, kind = config["name"], config["data_type"]
        if kind == "CATEGORICAL":
            numeric = _categories(config).get(str(string))
    return (
        score_id,
        name,
        kind,
        numeric,
        string,
        score.source or "API",
        score.comment,
        to_json(score.metadata),
        score.environment or "default",
        score.trace_id,
        score.observation_id,
        score.session_id,
        score.dataset_run_id,
        score.config_id,
        score.queue_id,
        score.timestamp if score.timestamp is not None else now,
        now,
        now,
    )


def _matches(score: ScoreBody, config: sqlite3.Row) -> bool:
    kind, value = config["data_type"], score.value
    if score.data_type not in (None, kind) or config["is_archived"]:
        return False
    match kind:
        case "NUMERIC":
            least, most = config["min_value"], config["max_value"]
            return not isinstance(value, str) and (least is None or value >= least) and (most is None or value <= most)
        case "BOOLEAN":
            return value in (0, 1)
        case "CATEGORICAL":
            return isinstance(value, str) and value in _categories(config)
        case _:
            return isinstance(value, str) and 1 <= len(value) <= MAX_TEXT_CHARS


def _categories(config: sqlite3.Row) -> dict[str, float]:
    categories = from_json(config["categories"])
    return {each["label"]: each["value"] for each in categories} if isinstance(categories, list) else {}  # type: ignore[index,call-overload,misc]


ScoreField = Literal["details", "subject", "annotation"]


def score_json(row: sqlite3.Row, fields: Collection[ScoreField]) -> dict[str, JsonValue]:
    """Return the JSON of a score.

    Args:
        row: The row of `scores`.
        fields: The groups of fields to add to the core ones.
    """
    body: dict[str, JsonValue] = {
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
        body["comment"] = row["comment"]
        body["configId"] = row["config_id"]
        body["metadata"] = from_json(row["metadata"]) or {}
    if "annotation" in fields:
        body["authorUserId"] = row["author_user_id"]
        body["queueId"] = row["queue_id"]
    if "subject" in fields:
        body["subject"] = _subject(row)
    body["dataType"] = row["data_type"]
    body["value"] = _answered_value(row)
    return body


def _answered_value(row: sqlite3.Row) -> JsonValue:
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
