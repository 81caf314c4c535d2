"""Spans for ingestion, written by hand where the SDK would not send them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MILLISECOND = 1_000_000
PROTOBUF = {"content-type": "application/x-protobuf"}


@dataclass
class SpanSketch:
    """A span as a test wants it; times in milliseconds since the epoch."""

    trace_id: str
    id: str
    start: int
    end: int
    name: str = "span"
    parent_id: str | None = None
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    """The metadata that Langfuse takes from scope and resource, under its own names for them."""


def export_request(spans: Iterable[SpanSketch]) -> ExportTraceServiceRequest:
    """Write spans as an export request, each with its own resource and scope."""
    request = ExportTraceServiceRequest()
    for sketch in spans:
        resource = request.resource_spans.add()
        scope = resource.scope_spans.add()
        for name, value in sketch.scope.items():
            if name.startswith("resourceAttributes."):
                resource.resource.attributes.append(_pair(name.removeprefix("resourceAttributes."), value))
            elif name.startswith("scope.attributes."):
                scope.scope.attributes.append(_pair(name.removeprefix("scope.attributes."), value))
        scope.scope.name = sketch.scope.get("scope.name", "")
        scope.scope.version = sketch.scope.get("scope.version", "")
        scope.spans.append(_span(sketch))
    return request


def send(client: httpx.Client, spans: Iterable[SpanSketch]) -> None:
    """Ingest spans."""
    content = export_request(spans).SerializeToString()
    client.post("/api/public/otel/v1/traces", content=content, headers=PROTOBUF).raise_for_status()


def experiment_attributes(experiment_id: str, name: str, item_id: str, root_id: str) -> dict[str, str]:
    """Write the attributes by which a span belongs to an experiment item."""
    return {
        "langfuse.experiment.id": experiment_id,
        "langfuse.experiment.name": name,
        "langfuse.experiment.item.id": item_id,
        "langfuse.experiment.item.root_observation_id": root_id,
        "langfuse.environment": "sdk-experiment",
        "langfuse.observation.input": json.dumps({"item": item_id}),
        "langfuse.observation.output": "done",
    }


def _span(sketch: SpanSketch) -> Span:
    return Span(
        trace_id=bytes.fromhex(sketch.trace_id),
        span_id=bytes.fromhex(sketch.id),
        parent_span_id=bytes.fromhex(sketch.parent_id or ""),
        name=sketch.name,
        start_time_unix_nano=sketch.start * MILLISECOND,
        end_time_unix_nano=sketch.end * MILLISECOND,
        attributes=[_pair(name, value) for name, value in sketch.attributes.items()],
    )


def _pair(name: str, value: str | float | bool) -> KeyValue:
    pair = KeyValue(key=name)
    match value:
        case bool():
            pair.value.bool_value = value
        case int():
            pair.value.int_value = value
        case float():
            pair.value.double_value = value
        case str():
            pair.value.string_value = value
    return pair
