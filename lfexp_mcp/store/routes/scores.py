"""Scores: `POST` and `DELETE /api/public/scores`, `GET /api/public/v3/scores`."""

import json
import math
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError
from starlette.responses import Response

from lfexp_mcp.store.call import Call, Fields, json_answer
from lfexp_mcp.store.http_errors import InvalidRequestError
from lfexp_mcp.store.paging import SPLIT_COMMAS, CommaList, Conditions, Cursor, cursor_time, decode_cursor
from lfexp_mcp.store.scores import ScoreBody, ScoreField, check_score, score_json, store_scores
from lfexp_mcp.store.times import Instant, iso

_LIST = TypeAdapter(list[ScoreBody])
_ONE = TypeAdapter(ScoreBody)


def create_scores(call: Call) -> Response | JsonValue:
    """Store one score and return its id, or a list of them: answered 202, or 207 if some are refused."""
    content = call.json()
    if isinstance(content, list):
        return _create_list(call, content)
    score = call.body(ScoreBody)
    check_score(score)
    with call.database.write() as connection:
        return {"id": store_scores(connection, [score])[0]}


def _create_list(call: Call, content: list[JsonValue]) -> Response:
    try:
        read: list[ScoreBody | InvalidRequestError] = [*_LIST.validate_python(content)]
    except ValidationError:
        read = [_read(member) for member in content]
    accepted: list[ScoreBody] = []
    errors: list[JsonValue] = []
    for position, score in enumerate(read):
        try:
            if isinstance(score, InvalidRequestError):
                raise score
            check_score(score)
            accepted.append(score)
        except InvalidRequestError as error:
            messages = "; ".join(f"{'.'.join(map(str, issue['path']))}: {issue['message']}" for issue in error.issues)  # type: ignore[arg-type]
            errors.append({"message": f"Score {position}: {messages}"})
    if accepted:
        with call.database.write() as connection:
            store_scores(connection, accepted)
    if errors:
        return json_answer({"accepted": len(accepted), "rejected": len(errors), "errors": errors}, 207)
    return json_answer({"message": "Accepted"}, 202)


def _read(content: JsonValue) -> ScoreBody | InvalidRequestError:
    try:
        return _ONE.validate_python(content)
    except ValidationError as error:
        return InvalidRequestError.of(error, ScoreBody)


def delete_score(call: Call) -> Response:
    """Delete a score. One that does not exist is not an error: Langfuse servers queue deletions."""
    with call.database.write() as connection:
        connection.execute("DELETE FROM scores WHERE id = ?", (call.path("id"),))
    return Response(status_code=204)


class ScoreCursor(Cursor):
    """The last row of a page of scores."""

    v: Literal[1] = 1
    last_timestamp: str
    last_id: str


class ScoresQuery(Fields):
    """Which scores to list."""

    fields: Annotated[tuple[ScoreField, ...], SPLIT_COMMAS] = ()
    limit: int = Field(default=50, ge=1, le=100)
    cursor: str | None = None
    id: CommaList | None = None
    name: CommaList | None = None
    source: CommaList | None = None
    data_type: CommaList | None = None
    environment: CommaList | None = None
    config_id: CommaList | None = None
    queue_id: CommaList | None = None
    author_user_id: CommaList | None = None
    trace_id: CommaList | None = None
    observation_id: CommaList | None = None
    session_id: CommaList | None = None
    experiment_id: CommaList | None = None
    value: CommaList | None = None
    value_min: float | None = Field(default=None, allow_inf_nan=False)
    value_max: float | None = Field(default=None, allow_inf_nan=False)
    from_timestamp: Instant | None = None
    to_timestamp: Instant | None = None


def list_scores(call: Call) -> JsonValue:
    """Return a page of scores, newest first."""
    query = call.query(ScoresQuery)
    conditions = _conditions(query)
    if query.cursor is not None:
        cursor = decode_cursor(ScoreCursor, query.cursor)
        conditions.add("(timestamp, id) < (?, ?)", cursor_time(cursor.last_timestamp), cursor.last_id)
    # The unary plus keeps the planner from walking all scores in time order when the index of subjects finds few.
    order = "+timestamp DESC, id DESC" if query.trace_id or query.experiment_id else "timestamp DESC, id DESC"
    with call.database.read() as connection:
        rows = connection.execute(
            f"SELECT * FROM scores {conditions.sql} ORDER BY {order} LIMIT ?",  # noqa: S608
            [*conditions.parameters, query.limit + 1],
        ).fetchall()
    page = rows[: query.limit]
    meta: dict[str, JsonValue] = {"limit": query.limit}
    if len(rows) > query.limit:
        last = page[-1]
        meta["cursor"] = ScoreCursor(last_timestamp=iso(last["timestamp"]), last_id=last["id"]).encode()
    return {"data": [score_json(row, query.fields) for row in page], "meta": meta}


def _conditions(query: ScoresQuery) -> Conditions:
    _check_subjects(query)
    conditions = Conditions()
    for column in (
        "id", "name", "environment", "config_id", "queue_id", "author_user_id", "trace_id", "observation_id",
        "session_id", "experiment_id",
):  # fmt: skip
        conditions.one_of(column, getattr(query, column))
    conditions.one_of("source", _upper(query.source))
    conditions.one_of("data_type", _upper(query.data_type))
    conditions.between("timestamp", query.from_timestamp, query.to_timestamp)
    _add_value(conditions, query)
    return conditions


def _upper(values: list[str] | None) -> list[str] | None:
    return None if values is None else [value.upper() for value in values]


def _check_subjects(query: ScoresQuery) -> None:
    given = [name for name in ("trace_id", "session_id", "experiment_id") if getattr(query, name) is not None]
    if len(given) > 1:
        raise InvalidRequestError.at("", "At most one of traceId, sessionId, experimentId may be provided.")
    if query.observation_id is not None and query.trace_id is None:
        raise InvalidRequestError.at("observationId", "observationId requires traceId to be specified.")


def _add_value(conditions: Conditions, query: ScoresQuery) -> None:
    bounded = query.value_min is not None or query.value_max is not None
    if not bounded and query.value is None:
        return
    kinds = _upper(query.data_type) or []
    if bounded and kinds != ["NUMERIC"]:
        raise InvalidRequestError.at("dataType", "valueMin and valueMax require dataType=NUMERIC.")
    if query.value is not None:
        _add_exact_value(conditions, kinds, query.value)
    if query.value_min is not None:
        conditions.add("number >= ?", query.value_min)
    if query.value_max is not None:
        conditions.add("number <= ?", query.value_max)


def _add_exact_value(conditions: Conditions, kinds: list[str], values: list[str]) -> None:
    if len(kinds) != 1 or kinds[0] not in ("NUMERIC", "BOOLEAN", "CATEGORICAL"):
        raise InvalidRequestError.at("dataType", "value requires a single dataType of NUMERIC, BOOLEAN or CATEGORICAL.")
    if kinds[0] == "CATEGORICAL":
        conditions.one_of("string", values)
        return
    numbers = [_boolean(value) if kinds[0] == "BOOLEAN" else _finite(value) for value in values]
    conditions.add("number IN (SELECT value FROM json_each(?))", json.dumps(numbers))


def _boolean(value: str) -> float:
    if value not in ("true", "false"):
        raise InvalidRequestError.at("value", 'For BOOLEAN, each value must be "true" or "false".')
    return float(value == "true")


def _finite(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequestError.at("value", "For NUMERIC, each value must be a finite number.")
    return number
