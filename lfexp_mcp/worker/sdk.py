"""The Langfuse SDK in the worker: its spans go to the outbox, whatever the user's code does to OpenTelemetry."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from random import Random
from threading import Lock
from typing import Literal

import opentelemetry.sdk.trace
from langfuse import Langfuse
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Status

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import StateError
from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.scripts.texts import clean
from lfexp_mcp.settings import load_settings

MAX_ATTRIBUTES = 2048
"""OpenTelemetry keeps 128 by default and drops the oldest: an item with much metadata would lose its experiment."""

ITEM_ATTRIBUTES: ContextVar[Mapping[str, str]] = ContextVar("item_attributes")
"""Set on every span that starts within an item."""
PLANNED_IDS: ContextVar[Sequence[int]] = ContextVar("planned_ids")
"""The next span's id, and its trace's id if it starts one."""


@dataclass(slots=True)
class SpanBatch:
    """The spans of one journal record; they reach the outbox together with it."""

    own: list[Span] = field(default_factory=list)
    """Those that the worker started itself; kept even if the user's code drops them."""
    ended: list[ReadableSpan] = field(default_factory=list)
    started_ns: int | None = None
    """When the traced work started after waiting for its turn; None if it did not wait."""
    state: Literal["open", "written", "dropped"] = "open"
    kept: list[ReadableSpan] | None = None
    """Its spans after they were written, for evaluators that look at them; None if none does."""


BATCH: ContextVar[SpanBatch] = ContextVar("span_batch")
"""The batch of the spans that start now."""


class _OutboxExporter(SpanExporter):
    """Writes spans to the outbox.

    Attributes:
        failure: Why a write failed, since the SDK ignores the result of an export.
    """

    def __init__(self) -> None:
        self.outbox: Outbox | None = None
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

    def write(self) -> None:
        """Write the closed batches to the outbox."""
        spans: list[ReadableSpan] = []
        with self._lock:
            closed, self._closed = self._closed, []
            for batch in closed:
                batch.state = "written"
                ended = {span.context.span_id for span in batch.ended if span.context}
                own = (span for span in batch.own if span.get_span_context().span_id not in ended)
                written = [_started_at(span, batch.started_ns) for span in (*batch.ended, *own)]
                spans += written
                if batch.kept is not None:
                    batch.kept += written
                batch.ended, batch.own = [], []
        self._append(spans)

    def _append(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.outbox is None:
            return SpanExportResult.FAILURE
        if not spans:
            return SpanExportResult.SUCCESS
        try:
            self.outbox.append(encode(spans))
        except StateError as error:
            self.failure = error
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing, since the outbox belongs to the run."""


class _ItemProcessor(SpanProcessor):
    """Gives every span that starts within an item its attributes and batch, in threads and tasks alike."""

    def __init__(self, exporter: _OutboxExporter) -> None:
        self._exporter = exporter

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        attributes = ITEM_ATTRIBUTES.get(None)
        if attributes:
            span.set_attributes(attributes)
        batch = BATCH.get(None)
        if batch is not None:
            self._exporter.assign(span, batch)


class _Ids(IdGenerator):
    """Generates ids that do not repeat if the user's code seeds `random`; `os.urandom` would cost more than a span."""

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311
        if hasattr(os, "register_at_fork"):
            # A forked child would otherwise repeat its parent's ids.
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        planned = PLANNED_IDS.get(())
        return planned[0] if planned else self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        planned = PLANNED_IDS.get(())
        return planned[1] if len(planned) > 1 else self._random.getrandbits(128) or 1


class _Provider(TracerProvider):
    def shutdown(self) -> None:
        """Do nothing: if the user's code could shut tracing down, later items would lose their spans."""


class Sdk:
    """The Langfuse SDK, set up so that the user's code gets this very client.

    A spare worker creates it ahead of time, before any of the user's code is loaded.

    Attributes:
        settings: From the environment that the user's code has not changed yet.
    """

    def __init__(self) -> None:
        # OpenTelemetry has imported its clock by name; this one goes on if the user's code freezes the time.
        vars(opentelemetry.sdk.trace)["time_ns"] = CLOCK.time_ns
        _list_only_loaded_modules()
        self.exporter = _OutboxExporter()
        self.settings = load_settings()
        self.provider = _Provider(
            resource=Resource.create({}),
            span_limits=SpanLimits(max_span_attributes=MAX_ATTRIBUTES),
            id_generator=_Ids(),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(_ItemProcessor(self.exporter))
        trace.set_tracer_provider(self.provider)
        self.client = Langfuse(
            environment=EXPERIMENT_ENVIRONMENT, span_exporter=self.exporter, tracer_provider=self.provider
        )
        _warm_up()


def _list_only_loaded_modules() -> None:
    """Let `dir()` of Langfuse's lazy API modules return only what is loaded.

    Freezegun gets every name in `dir()` of every module. That would load modules with frozen dates, which Pydantic does
    not know.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "langfuse" and "__dir__" in vars(module):
            vars(module)["__dir__"] = partial(list, vars(module))


def _warm_up() -> None:
    """Start and encode one span, since the first takes many times as long as the next."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer(__name__)
    span = tracer.start_span("warm-up", attributes={"a": 1})
    span.end()
    if isinstance(span, ReadableSpan):
        encode([span])


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Encode spans as an OTLP `ExportTraceServiceRequest`, whatever text they hold."""
    try:
        encoded = encode_spans(spans)
    except UnicodeEncodeError:
        encoded = encode_spans([_with_clean_texts(span) for span in spans])
    data: bytes = encoded.SerializeToString()
    return data


def _started_at(span: ReadableSpan, start_ns: int | None) -> ReadableSpan:
    """Let a span start no earlier than this, unless it had ended by then."""
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
