"""Encoded batches of spans: how many are in one, and its two halves."""

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans


def is_batch(content: bytes) -> bool:
    """Tell whether a content is an encoded `ExportTraceServiceRequest`."""
    try:
        ExportTraceServiceRequest.FromString(content)
    except DecodeError:
        return False
    return True


def count_spans(batch: bytes) -> int:
    """Count the spans of an encoded `ExportTraceServiceRequest`."""
    return sum(len(scope.spans) for scope in _scopes(batch))


def name_spans(batch: bytes) -> list[tuple[str, str]]:
    """Return id and name of each span."""
    return [(span.span_id.hex(), span.name) for scope in _scopes(batch) for span in scope.spans]


def split_batch(batch: bytes) -> tuple[bytes, bytes]:
    """Split a batch of at least two spans into two batches of about the same number of spans."""
    request = ExportTraceServiceRequest.FromString(batch)
    half = count_spans(batch) // 2
    parts = (ExportTraceServiceRequest(), ExportTraceServiceRequest())
    position = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            cut = min(max(half - position, 0), len(scope.spans))
            for part, spans in ((parts[0], scope.spans[:cut]), (parts[1], scope.spans[cut:])):
                if spans:
                    own = ScopeSpans(scope=scope.scope, spans=spans, schema_url=scope.schema_url)
                    part.resource_spans.append(
                        ResourceSpans(resource=resource.resource, scope_spans=[own], schema_url=resource.schema_url)
                    )
            position += len(scope.spans)
    return parts[0].SerializeToString(), parts[1].SerializeToString()


def _scopes(batch: bytes) -> list[ScopeSpans]:
    request = ExportTraceServiceRequest.FromString(batch)
    return [scope for resource in request.resource_spans for scope in resource.scope_spans]
