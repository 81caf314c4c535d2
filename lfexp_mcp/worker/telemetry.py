"""The spans of a run in a process that calls the user's code: they go to the outbox, whatever the code does to them.

The Langfuse SDK processes them as well. A worker has the SDK from the start, see `sdk`; a process on a node only if it
is needed, since to import it would take half of its start.
"""

import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import metadata
from random import Random
from threading import Lock
from typing import Any, Literal, Protocol, cast

import opentelemetry.sdk.trace
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanLimits, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, format_trace_id

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import Observation
from lfexp_mcp.scripts.texts import describe
from lfexp_mcp.worker.own_spans import Attributes, OwnSpan, SpanSource

MAX_ATTRIBUTES = 2048
"""OpenTelemetry keeps 128 by default and drops the oldest: an item with much metadata would lose its experiment."""

APP_ROOT_CLAIM = "langfuse_trace_id"
"""Baggage that tells the SDK that a trace already has its root."""


@dataclass(slots=True)
class SpanBatch:
    """The spans of one journal record; they reach the outbox together with it."""

    shared: tuple[Attributes, ...] = ()
    """Set on every span that starts within."""
    own: list[OwnSpan] = field(default_factory=list)
    """Those that the worker started itself; kept even if the user's code drops them."""
    ended: list[ReadableSpan] = field(default_factory=list)
    started_ns: int | None = None
    """When the traced work started after waiting for its turn; None if it did not wait."""
    ended_ns: int | None = None
    """When it ended; None for when the worker learns of it."""
    state: Literal["open", "written", "dropped"] = "open"
    is_used: bool = False
    """Whether a span has started in it."""
    encoded: list[bytes] = field(default_factory=list)
    """Those that other processes have made and encoded."""
    kept: list[ReadableSpan] | None = None
    """Its spans after they were written, for evaluators that look at them; None if none does."""
    observations: list[Observation] = field(default_factory=list)
    """What evaluators see of those that are encoded."""


BATCH: ContextVar[SpanBatch] = ContextVar("span_batch")
"""The batch of the spans that start now."""


class SpanSink(Protocol):
    """Takes encoded spans."""

    def append(self, batch: bytes, /) -> None:
        """Take some."""
        ...

    def start_fork(self) -> None:
        """Be told that this process is a fork."""
        ...


class _OutboxExporter(SpanExporter):
    """Writes spans to the outbox.

    Attributes:
        failure: Why a write failed, since the SDK ignores the result of an export.
    """

    def __init__(self) -> None:
        self.outbox: SpanSink | None = None
        self.failure: StateError | None = None
        self._lock = Lock()
        self._batches: dict[int, SpanBatch] = {}
        """By the ids of spans that have started and not ended."""
        self._closed: list[SpanBatch] = []
        self._is_fork = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_fork)

    def _start_fork(self) -> None:
        """Write each span as it ends in a process that the user's code forked, which makes no records."""
        self._is_fork, self._lock = True, Lock()
        self._batches.clear()
        if self.outbox is not None:
            self.outbox.start_fork()

    def assign(self, span: Span, batch: SpanBatch) -> None:
        """Hold a span that has started until its batch is written."""
        batch.is_used = True
        if not self._is_fork:
            self._batches[span.get_span_context().span_id] = batch

    def close(self, batch: SpanBatch) -> None:
        """Let the next `write` write a batch."""
        self._closed.append(batch)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        unassigned: list[ReadableSpan] = []
        with self._lock:
            for span in spans:
                batch = self._batches.pop(span.context.span_id, None) if span.context else None
                if batch is None or batch.state == "written":
                    unassigned.append(span)
                elif batch.state == "open":
                    batch.ended.append(span)
        return self._append(unassigned)

    def write(self, source: SpanSource) -> None:
        """Write the closed batches to the outbox.

        Args:
            source: Encodes the worker's own spans.
        """
        spans: list[ReadableSpan] = []
        encoded: list[bytes] = []
        alone: list[tuple[OwnSpan, int | None]] = []
        with self._lock:
            closed, self._closed = self._closed, []
            for batch in closed:
                batch.state = "written"
                ended = {span.context.span_id for span in batch.ended if span.context}
                own = [span for span in batch.own if span.get_span_context().span_id not in ended]
                alone += [(span, batch.started_ns) for span in own if span.ended_alone]
                others = (*batch.ended, *(span for span in own if not span.ended_alone))
                spans += [_started_at(span, batch.started_ns) for span in others]
                if batch.kept is not None:
                    batch.kept += [_started_at(span, batch.started_ns) for span in (*batch.ended, *own)]
                for span in own:
                    self._batches.pop(span.get_span_context().span_id, None)
                encoded += batch.encoded
                batch.ended, batch.own, batch.encoded = [], [], []
        self._append(spans, b"".join([*([source.encode(alone)] if alone else ()), *encoded]))

    def take(self, batch: SpanBatch) -> list[ReadableSpan]:
        """Take the spans of a batch that have ended, instead of writing them; those that end later are in none."""
        with self._lock:
            batch.state = "written"
            ended, batch.ended = batch.ended, []
        return ended

    def _append(self, spans: Sequence[ReadableSpan], encoded: bytes = b"") -> SpanExportResult:
        if self.outbox is None:
            return SpanExportResult.FAILURE
        # Encoded requests can be joined.
        encoded += encode(spans) if spans else b""
        if not encoded:
            return SpanExportResult.SUCCESS
        try:
            self.outbox.append(encoded)
        except StateError as error:
            self.failure = error
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing, since the outbox belongs to the run."""


class _ItemProcessor(SpanProcessor):
    """The SDK's processor, behind one that gives spans within an item its attributes and batch, whatever their thread.

    It does not know of the worker's own spans, within which no span is an application's root.

    Attributes:
        of_sdk: The SDK's; None until the SDK has been set up.
    """

    def __init__(self, exporter: _OutboxExporter, source: SpanSource, set_up_sdk: Callable[[], object]) -> None:
        self.of_sdk: SpanProcessor | None = None
        self._exporter = exporter
        self._source = source
        self._set_up_sdk = set_up_sdk

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        batch = BATCH.get(None)
        if batch is not None:
            for attributes in batch.shared:
                span.set_attributes(attributes.values)
            self._exporter.assign(span, batch)
        if span.parent is not None and span.parent.span_id in self._source.open_ids:
            trace_id = format_trace_id(span.parent.trace_id)
            parent_context = baggage.set_baggage(APP_ROOT_CLAIM, trace_id, parent_context)
        if self.of_sdk is None:
            self._set_up_sdk()
        if self.of_sdk is not None:
            self.of_sdk.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        if self.of_sdk is not None:
            self.of_sdk.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.of_sdk is None or self.of_sdk.force_flush(timeout_millis)


class _Ids(IdGenerator):
    """Generates ids that do not repeat if the user's code seeds `random`; `os.urandom` would cost more than a span."""

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311
        if hasattr(os, "register_at_fork"):
            # A forked child would otherwise repeat its parent's ids.
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


class _Provider(TracerProvider):
    """The provider of all tracers.

    Attributes:
        own: The source of the worker's own spans.
    """

    def __init__(self, exporter: _OutboxExporter, public_key: str, set_up_sdk: Callable[[], object]) -> None:
        limits, scope = SpanLimits(max_span_attributes=MAX_ATTRIBUTES), sdk_scope(public_key)
        super().__init__(resource=Resource.create({}), span_limits=limits, id_generator=_Ids(), shutdown_on_exit=False)
        tracer = cast("Tracer", self.get_tracer(scope.name, scope.version, attributes=scope.attributes))
        self.own = SpanSource(tracer, scope, limits)
        self._of_items = _ItemProcessor(exporter, self.own, set_up_sdk)
        super().add_span_processor(self._of_items)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor: that of the SDK, or one of the user's code."""
        if self._of_items.of_sdk is None and type(span_processor).__module__.startswith("langfuse."):
            self._of_items.of_sdk = span_processor
        else:
            self.own.is_watched = True
            super().add_span_processor(span_processor)

    def shutdown(self) -> None:
        """Do nothing: if the user's code could shut tracing down, later items would lose their spans."""


class Telemetry:
    """What makes all spans of this process, those of the user's code included.

    Args:
        public_key: Of Langfuse.
        set_up_sdk: Called when a span starts before the SDK has added its processor, which it does meanwhile.

    Attributes:
        exporter: Takes them.
        provider: Makes them.
    """

    def __init__(self, public_key: str, set_up_sdk: Callable[[], object] = lambda: None) -> None:
        # OpenTelemetry has imported its clock by name; this one goes on if the user's code freezes the time.
        vars(opentelemetry.sdk.trace)["time_ns"] = CLOCK.time_ns
        self.exporter = _OutboxExporter()
        self.provider = _Provider(self.exporter, public_key, set_up_sdk)
        trace.set_tracer_provider(self.provider)


def sdk_scope(public_key: str) -> InstrumentationScope:
    """Return the instrumentation scope of the SDK's spans; Langfuse reads their attributes according to its version."""
    return InstrumentationScope("langfuse-sdk", metadata.version("langfuse"), attributes={"public_key": public_key})


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Encode spans as an OTLP `ExportTraceServiceRequest`, whatever the user's code has given them."""
    try:
        encoded = encode_spans(spans)
    except (KeyError, TypeError, ValueError):
        encoded = encode_spans([_mended(span) for span in spans])
    data: bytes = encoded.SerializeToString()
    return data


def _started_at(span: ReadableSpan, start_ns: int | None) -> ReadableSpan:
    """Let a span start no earlier than this, unless it had ended by then."""
    if start_ns is None or not _time(span.start_time, 0) < start_ns <= _time(span.end_time, 0):
        return span
    return _copy(span, start_time=start_ns)


def _mended(span: ReadableSpan) -> ReadableSpan:
    """Replace what is not a text, a time or a kind."""
    description = span.status.description
    start = _time(span.start_time, CLOCK.time_ns())
    return _copy(
        span,
        name=describe(span.name),
        status=Status(span.status.status_code, None if description is None else describe(description)),
        events=[Event(describe(each.name), each.attributes, _time(each.timestamp, start)) for each in span.events],
        kind=next((kind for kind in SpanKind if kind is span.kind), SpanKind.INTERNAL),
        start_time=start,
        end_time=_time(span.end_time, start),
    )


def _time(given: object, otherwise: int) -> int:
    return given if isinstance(given, int) and 0 <= given < 2**63 else otherwise


def _copy(span: ReadableSpan, **changes: Any) -> ReadableSpan:  # noqa: ANN401
    same = {
        "name": span.name,
        "context": span.context,
        "parent": span.parent,
        "resource": span.resource,
        "attributes": span.attributes,
        "events": span.events,
        "links": span.links,
        "kind": span.kind,
        "status": span.status,
        "start_time": span.start_time,
        "end_time": span.end_time,
        "instrumentation_scope": span.instrumentation_scope,
    }
    return ReadableSpan(**(same | changes))
