"""Trace ingestion: `/api/public/otel/v1/traces`."""

from pydantic import JsonValue

from lfexp_mcp.store.call import Call
from lfexp_mcp.store.http_errors import ApiError
from lfexp_mcp.store.ingest import ingest
from lfexp_mcp.store.otlp import read_json, read_protobuf


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
