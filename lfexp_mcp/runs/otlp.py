"""Encoded batches of spans: how many are in one, its two halves, and what is left of one without some spans."""

from collections.abc import Callable, Iterator, Mapping

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

_ITEM = ("langfuse.experiment.id", "langfuse.experiment.item.id")
"""Attributes that tell whose span it is."""


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


def drop_spans(batch: bytes, unwanted: Callable[[str, str], tuple[str, str]]) -> bytes:
    """Leave out spans of experiments' items.

    Args:
        batch: An encoded request.
        unwanted: Returns, for an experiment and a dataset item, the trace to leave out, and the span to leave out with
            all below it.

    Returns:
        The batch as it was where nothing is left out; empty where nothing is left.
    """
    request = ExportTraceServiceRequest.FromString(batch)
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    parents = {span.span_id: span.parent_span_id for scope in scopes for span in scope.spans}
    dropped: set[bytes] = set()
    for scope in scopes:
        for span in scope.spans:
            values = {each.key: each.value.string_value for each in span.attributes if each.key in _ITEM}
            if len(values) < len(_ITEM):
                continue
            trace_id, root = unwanted(*(values[name] for name in _ITEM))
            if span.trace_id.hex() == trace_id or root in _lineage(span.span_id, parents):
                dropped.add(span.span_id)
    if not dropped:
        return batch
    for scope in scopes:
        kept = [span for span in scope.spans if span.span_id not in dropped]
        del scope.spans[:]
        scope.spans.extend(kept)
    return request.SerializeToString() if len(dropped) < len(parents) else b""


def _lineage(span_id: bytes, parents: Mapping[bytes, bytes]) -> Iterator[str]:
    """Yield the ids of a span and of those above it."""
    seen: set[bytes] = set()
    while span_id and span_id not in seen:
        seen.add(span_id)
        yield span_id.hex()
        span_id = parents.get(span_id, b"")
