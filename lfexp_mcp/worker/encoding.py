"""Spans as they are sent: OTLP, whatever texts they hold."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status

from lfexp_mcp.scripts.texts import clean


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Encode spans; the name or status of one that UTF-8 cannot hold would otherwise cost all of them."""
    try:
        encoded = encode_spans(spans)
    except UnicodeEncodeError:
        encoded = encode_spans([_with_clean_texts(span) for span in spans])
    data: bytes = encoded.SerializeToString()
    return data


def begun_at(span: ReadableSpan, start_ns: int | None) -> ReadableSpan:
    """Return a span as one that did not begin before a moment; one that had ended by then stays as it is."""
    if start_ns is None or not (span.start_time or 0) < start_ns <= (span.end_time or 0):
        return span
    return _copy(span, span.name, span.status, start_ns)


def _with_clean_texts(span: ReadableSpan) -> ReadableSpan:
    description = span.status.description
    status = Status(span.status.status_code, None if description is None else clean(description))
    return _copy(span, clean(span.name), status, span.start_time)


def _copy(span: ReadableSpan, name: str, status: Status, start_ns: int | None) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=start_ns,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
