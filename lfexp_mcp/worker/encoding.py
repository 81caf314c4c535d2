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


def _with_clean_texts(span: ReadableSpan) -> ReadableSpan:
    description = span.status.description
    return ReadableSpan(
        name=clean(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, None if description is None else clean(description)),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
