"""The spans that the worker starts itself: four or more per item, and most of what an empty item would cost.

A span that the user's code neither changes nor looks at needs none of what makes spans of the SDK expensive: locks and
limits around each attribute, processors, a search for media, a copy and an encoding of attributes that are the same on
thousands of spans. Such a span is its ids, times and attributes, and is written by joining what is encoded already.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, SupportsIndex

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, Tracer
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.scripts.texts import clean

MEDIA_MARKS = ("data:", '"data"', "inline_data", "inlineData")
"""What a text holds if the SDK finds media in it (`LangfuseTransformingSpanExporter._process_media_string`, 5.0.4)."""


class Attributes:
    """Attributes that one or several spans have."""

    def __init__(self, values: Mapping[str, str | bool]) -> None:
        self.values = values

    @cached_property
    def encoded(self) -> bytes | None:
        """An encoded span that has nothing but these; encoded messages can be joined.

        None if that is up to the SDK, which uploads media and leaves out what is not text.
        """
        texts = [value for value in self.values.values() if isinstance(value, str)]
        if any(mark in text for text in texts for mark in MEDIA_MARKS):
            return None
        try:
            pairs = [
                KeyValue(
                    key=name,
                    value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(bool_value=value),
                )
                for name, value in self.values.items()
            ]
        except ValueError:
            return None
        encoded: bytes = ProtoSpan(attributes=pairs).SerializeToString()
        return encoded


class SpanSource:
    """What the worker's own spans have in common.

    Args:
        tracer: Makes the SDK's spans of the same resource.
        scope: Their instrumentation scope.
        limits: Those of the SDK's spans.

    Attributes:
        is_watched: Whether the user's code has added processors, which are to see all spans.
        open_ids: Ids of those that have not ended.
    """

    def __init__(self, tracer: Tracer, scope: InstrumentationScope, limits: SpanLimits) -> None:
        self.tracer = tracer
        self.scope = scope
        self.limits = limits
        self.is_watched = False
        self.open_ids: set[int] = set()

    def encode(self, spans: Iterable[tuple["OwnSpan", int | None]]) -> bytes:
        """Encode spans that ended alone as an OTLP `ExportTraceServiceRequest`; see `OwnSpan.write`."""
        request = ExportTraceServiceRequest()
        request.CopyFrom(self._without_spans)
        written = request.resource_spans[0].scope_spans[0].spans
        for span, started_ns in spans:
            span.write(written.add(), started_ns)
        data: bytes = request.SerializeToString()
        return data

    @cached_property
    def _without_spans(self) -> ExportTraceServiceRequest:
        """A request with resource and scope."""
        span = ReadableSpan("", INVALID_SPAN_CONTEXT, resource=self.tracer.resource, instrumentation_scope=self.scope)
        request = encode_spans([span])
        del request.resource_spans[0].scope_spans[0].spans[:]
        return request


@dataclass(slots=True)
class _Plain:
    """What a span is that has not become one of the SDK's."""

    source: SpanSource
    name: str
    ids: SpanContext
    parent: SpanContext | None
    attributes: list[Attributes]
    start_ns: int
    end_ns: int | None = None
    """When it ended without the SDK."""
    has_become: bool = False
    lock: Lock = field(default_factory=Lock)

    @property
    def is_encodable(self) -> bool:
        """Whether name and attributes can be sent as they are."""
        count = sum(len(each.values) for each in self.attributes)
        is_text = self.name.isascii() or clean(self.name) == self.name
        is_small = count <= (self.source.limits.max_span_attributes or 0)
        return is_text and is_small and all(each.encoded is not None for each in self.attributes)


class OwnSpan(SdkSpan):
    """A span that becomes one of the SDK's when other code looks at it: on the first access to what only those have.

    Args:
        source: What it has in common with others.
        name: Its name.
        context: Its ids.
        parent: Those of its parent.
        attributes: With names of their own each.
        start_ns: When it starts; None for now.
        within: The context that it starts in, for processors of the user's code; None for the current one.
    """

    def __init__(
        self,
        source: SpanSource,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        *attributes: Attributes,
        start_ns: int | None = None,
        within: Context | None = None,
    ) -> None:
        # Without that of the superclass, which costs more than all else here: see `become_sdk_span`.
        self._context = context
        self._plain = _Plain(source, name, context, parent, list(attributes), start_ns or CLOCK.time_ns())
        source.open_ids.add(context.span_id)
        if source.is_watched:
            self.become_sdk_span()
            source.tracer.span_processor.on_start(self, within)

    def __getattr__(self, name: str) -> object:
        known = vars(self)
        # An object that is being copied has nothing yet.
        if "_plain" in known:
            self.become_sdk_span()
        if name in known:
            return known[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        # A copy shares what it has with its original.
        self.become_sdk_span()
        return super().__reduce_ex__(protocol)

    def add(self, attributes: Attributes) -> None:
        """Set attributes, none of which the worker has set before."""
        plain = self._plain
        with plain.lock:
            if not plain.has_become and plain.end_ns is None:
                plain.attributes.append(attributes)
                return
        self.set_attributes(attributes.values)

    def end(self, end_time: int | None = None) -> None:
        """End it as one of the SDK's, as the user's code may."""
        self._plain.source.open_ids.discard(self._plain.ids.span_id)
        super().end(end_time)

    def finish(self, end_ns: int | None = None) -> None:
        """End it: through the SDK if it is one of its spans, or has what only the SDK can send.

        Args:
            end_ns: When it ends; None for now.
        """
        plain = self._plain
        with plain.lock:
            if not plain.has_become and not plain.source.is_watched and plain.is_encodable:
                plain.end_ns = CLOCK.time_ns() if end_ns is None else end_ns
                plain.source.open_ids.discard(plain.ids.span_id)
                return
        self.end(end_ns)

    def write(self, span: ProtoSpan, started_ns: int | None) -> None:
        """Write one that ended without the SDK to an empty message.

        Args:
            span: The message.
            started_ns: When the traced work started; it starts no earlier, unless it had ended by then.
        """
        plain, ids = self._plain, self._plain.ids
        end_ns = plain.end_ns or 0
        span.trace_id = ids.trace_id.to_bytes(16, "big")
        span.span_id = ids.span_id.to_bytes(8, "big")
        if plain.parent is not None:
            span.parent_span_id = plain.parent.span_id.to_bytes(8, "big")
        span.name = plain.name
        span.kind = ProtoSpan.SPAN_KIND_INTERNAL
        is_late = started_ns is not None and plain.start_ns < started_ns <= end_ns
        span.start_time_unix_nano = started_ns if started_ns is not None and is_late else plain.start_ns
        span.end_time_unix_nano = end_ns
        span.flags = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
        span.status.SetInParent()
        for attributes in plain.attributes:
            span.MergeFromString(attributes.encoded)

    @property
    def parent_ids(self) -> SpanContext | None:
        """The ids of its parent."""
        return self._plain.parent

    def described(self) -> tuple[str, dict[str, Any]]:
        """Return its name and attributes, without making it one of the SDK's."""
        plain = self._plain
        with plain.lock:
            if not plain.has_become:
                return plain.name, {name: value for each in plain.attributes for name, value in each.values.items()}
        return self.name, dict(self.attributes or {})

    @property
    def ended_alone(self) -> bool:
        """Whether it ended without the SDK, so that `write` has to write it."""
        return self._plain.end_ns is not None

    @property
    def is_sdk_span(self) -> bool:
        """Whether other code has looked at it, and may have changed it."""
        return self._plain.has_become

    def become_sdk_span(self) -> None:
        """Become a whole span of the SDK, with what it has now."""
        plain = self._plain
        with plain.lock:
            if plain.has_become:
                return
            whole: OwnSpan = object.__new__(OwnSpan)
            SdkSpan.__init__(
                whole,
                name=plain.name,
                context=plain.ids,
                parent=plain.parent,
                sampler=plain.source.tracer.sampler,
                resource=plain.source.tracer.resource,
                attributes={name: value for each in plain.attributes for name, value in each.values.items()},
                span_processor=plain.source.tracer.span_processor,
                instrumentation_scope=plain.source.scope,
                limits=plain.source.limits,
            )
            # At once, since other threads do not hold the lock.
            vars(self).update(vars(whole) | {"_start_time": plain.start_ns, "_end_time": plain.end_ns})
            plain.has_become = True
