"""OTLP/HTTP trace export requests, read into spans (https://opentelemetry.io/docs/specs/otlp/)."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from pydantic import JsonValue

from lfexp_mcp.store.http_errors import BadRequestError

Attributes: TypeAlias = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a trace, with its resource and scope."""

    trace_id: str
    """32 hexadecimal digits."""
    id: str
    """16 hexadecimal digits."""
    parent_id: str | None
    name: str
    start_time: int
    """In milliseconds since the epoch."""
    end_time: int | None
    """In milliseconds since the epoch."""
    attributes: Attributes
    failed: bool
    """Whether its status is an error."""
    status_message: str
    resource: Attributes
    origin: str
    """JSON object of the attributes of resource and scope, under Langfuse's names for them in metadata."""


def read_protobuf(content: bytes) -> list[Span]:
    """Read an export request in binary protobuf.

    Raises:
        BadRequestError: It is invalid.
    """
    try:
        return list(_spans(ExportTraceServiceRequest.FromString(content)))
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError("Failed to parse the OTLP protobuf body") from error


def read_json(body: JsonValue) -> list[Span]:
    """Read an export request in OTLP's JSON form, where ids are hexadecimal.

    Raises:
        BadRequestError: It is invalid.
    """
    try:
        request = ParseDict(_ids_as_base64(body), ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ParseError, binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise BadRequestError("Failed to parse the OTLP JSON body") from error
    return list(_spans(request))


def _ids_as_base64(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_ids_as_base64(member) for member in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(member)).decode("ascii")
        if key in ("traceId", "spanId", "parentSpanId") and isinstance(member, str)
        else _ids_as_base64(member)
        for key, member in value.items()
    }


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            origin = _origin(resource_spans.resource, scope_spans.scope)
            for span in scope_spans.spans:
                yield _span(span, resource, origin)


def _span(span: ProtoSpan, resource: Attributes, origin: str) -> Span:
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        raise BadRequestError("A span has no valid trace id and span id")
    return Span(
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        name=span.name,
        start_time=span.start_time_unix_nano // 1_000_000,
        end_time=span.end_time_unix_nano // 1_000_000 or None,
        attributes=_attributes(span.attributes),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        status_message=span.status.message,
        resource=resource,
        origin=origin,
    )


def _origin(resource: Resource, scope: InstrumentationScope) -> str:
    found: dict[str, JsonValue] = {
        f"scope.attributes.{name}": _text(value) for name, value in _attributes(scope.attributes).items()
    }
    if scope.version:
        found["scope.version"] = scope.version
    if scope.name:
        found["scope.name"] = scope.name
    for name, value in _attributes(resource.attributes).items():
        found[f"resourceAttributes.{name}"] = _text(value)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    # Most are texts; that of another kind of value is empty.
    return {pair.key: pair.value.string_value or _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> JsonValue:
    kind = value.WhichOneof("value")
    match kind:
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value if value.double_value - value.double_value == 0 else str(value.double_value)
        case "bool_value":
            return value.bool_value
        case "array_value":
            return [_value(member) for member in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode("ascii")
        case _:
            return None
