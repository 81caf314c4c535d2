"""Metrics: `/api/public/v2/metrics`, limited to counts of observations."""

from typing import Literal

from pydantic import JsonValue, ValidationError

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.http_errors import ApiError, InvalidRequestError
from lfexp_mcp.store.times import Instant


class MetricsQuery(Fields):
    """The query string: one parameter, in JSON."""

    query: str


class Metric(Fields):
    """A measure and its aggregation."""

    measure: str
    aggregation: str


class Dimension(Fields):
    """A field that rows are grouped by."""

    field: str


class Metrics(Fields):
    """A query for metrics."""

    view: Literal["observations", "scores-numeric", "scores-boolean", "scores-categorical"]
    metrics: list[Metric]
    dimensions: tuple[Dimension, ...] = ()
    filters: tuple[JsonValue, ...] = ()
    time_dimension: JsonValue = None
    from_timestamp: Instant
    to_timestamp: Instant


_DIMENSIONS = {
    "name": "name",
    "type": "type",
    "level": "level",
    "environment": "environment",
    "version": "version",
    "release": "release",
    "traceName": "trace_name",
}
_MAX_ROWS = 100


def query_metrics(call: Call) -> JsonValue:
    """Count observations by dimensions, largest group first; answer any other query with 501."""
    try:
        query = Metrics.model_validate_json(call.query(MetricsQuery).query)
    except ValidationError as error:
        raise InvalidRequestError.of(error, Metrics) from error
    fields = [dimension.field for dimension in query.dimensions]
    is_count = [(metric.measure, metric.aggregation) for metric in query.metrics] == [("count", "count")]
    plain = query.view == "observations" and not query.filters and query.time_dimension is None
    if not (is_count and plain and all(field in _DIMENSIONS for field in fields)):
        raise ApiError(
            501,
            {
                "message": "The embedded store only counts observations: view 'observations', metric count/count, no "
                f"filters, dimensions {', '.join(_DIMENSIONS)}. Use a Langfuse server for other metrics.",
                "error": "NotImplementedError",
            },
        )
    columns = [_DIMENSIONS[field] for field in fields]
    grouping = f"GROUP BY {', '.join(columns)}" if columns else ""
    with call.database.read() as connection:
        rows = connection.execute(
            f"""
            SELECT {", ".join([*columns, "count(*)"])} FROM observations WHERE start_time >= ? AND start_time < ?
            {grouping} ORDER BY count(*) DESC LIMIT {_MAX_ROWS}
            """,  # noqa: S608
            (query.from_timestamp, query.to_timestamp),
        ).fetchall()
    return {"data": [dict(zip([*fields, "count_count"], row, strict=True)) for row in rows]}
