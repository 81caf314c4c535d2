"""Spans of a run: handed on by the Langfuse SDK, kept in the outbox.

The root of an item's spans ends with the task, unlike in the SDK's own experiments: the evaluation is its child also
when it is made later, by a resumed run. The spans of one record of the journal, an item's result or its scores, reach
the outbox together with that record, so that what a kill leaves unrecorded was never sent.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from threading import Lock
from typing import Literal, TypeVar

import opentelemetry.sdk.trace
from langfuse import Langfuse, LangfuseOtelSpanAttributes
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan
from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import StateError
from lfexp_mcp.gateway.records import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.runs.identity import evaluation_id, item_ids
from lfexp_mcp.runs.journal import ItemEnded
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.settings import load_settings
from lfexp_mcp.worker.encoding import begun_at, encode
from lfexp_mcp.worker.item_spans import ROOT_OBSERVATION, ROOT_SPAN, TASK_SPAN, ItemSpans, nanoseconds, span_context
from lfexp_mcp.worker.observations import Observation, ObservationMaker

T = TypeVar("T")

EVALUATION_SPAN = "experiment-item-evaluation"
APP_ROOT_CLAIM = "langfuse_trace_id"
"""Baggage by which the SDK knows that a trace has its root already."""
MOST_ATTRIBUTES = 2048
"""OpenTelemetry keeps 128 by default, and drops the oldest: an item with much metadata would lose its experiment."""

_item_attributes: ContextVar[Mapping[str, str]] = ContextVar("item_attributes")


@dataclass(slots=True)
class _Unit:
    """The spans of one record of the journal."""

    own: list[Span] = field(default_factory=list)
    """Those that the runner made: they are kept whatever the user's code does to OpenTelemetry."""
    ended: list[ReadableSpan] = field(default_factory=list)
    begun_ns: int | None = None
    """When what they trace began, after whatever it had to wait for; None for the beginning of the spans."""
    state: Literal["open", "written", "dropped"] = "open"


_unit: ContextVar[_Unit] = ContextVar("unit")


class _OutboxExporter(SpanExporter):
    """Hands spans to the outbox; `failure` keeps what went wrong, since the SDK ignores an export's result."""

    def __init__(self) -> None:
        self.outbox: Outbox | None = None
        self.failure: StateError | None = None
        self._lock = Lock()
        self._units: dict[int, _Unit] = {}
        """By the ids of spans that have begun and not ended."""
        self._closed: list[_Unit] = []
        self._is_fork = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_fork)

    def _begin_fork(self) -> None:
        """In a process that the user's code has forked, hand on each span that ends: no record will be made here."""
        self._is_fork, self._lock = True, Lock()
        self._units.clear()

    def claim(self, span: Span, unit: _Unit) -> None:
        """Keep a span that has begun for its unit."""
        if not self._is_fork:
            self._units[span.get_span_context().span_id] = unit

    def close(self, unit: _Unit) -> None:
        """Let a unit be written with the next `write`."""
        self._closed.append(unit)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        free: list[ReadableSpan] = []
        with self._lock:
            for span in spans:
                unit = self._units.pop(span.context.span_id, None) if span.context else None
                if unit is None or unit.state == "written":
                    free.append(span)
                elif unit.state == "open":
                    unit.ended.append(span)
        return self._keep(free)

    def write(self) -> None:
        """Hand the spans of closed units to the outbox."""
        spans: list[ReadableSpan] = []
        with self._lock:
            closed, self._closed = self._closed, []
            for unit in closed:
                unit.state = "written"
                ended = {span.context.span_id for span in unit.ended if span.context}
                own = (span for span in unit.own if span.get_span_context().span_id not in ended)
                spans += (begun_at(span, unit.begun_ns) for span in (*unit.ended, *own))
                unit.ended, unit.own = [], []
        self._keep(spans)

    def _keep(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
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
        """Nothing to close: the outbox belongs to the run."""


class _ItemContext(SpanProcessor):
    """Gives every span that begins within an item the item's attributes and unit, in threads and tasks alike."""

    def __init__(self, exporter: _OutboxExporter) -> None:
        self._exporter = exporter

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:  # noqa: ARG002
        attributes = _item_attributes.get(None)
        if attributes:
            span.set_attributes(attributes)
        unit = _unit.get(None)
        if unit is not None:
            self._exporter.claim(span, unit)


_planned_ids: ContextVar[Sequence[int]] = ContextVar("planned_ids")
"""Ids of the next span: of the span, and of its trace where it begins one."""


class _OwnIds(IdGenerator):
    """Ids that no script repeats which seeds `random`; to ask the system for each would cost more than a span."""

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311
        if hasattr(os, "register_at_fork"):
            # Children of the user's code would go on with the same sequence as their parent.
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        planned = _planned_ids.get(())
        return planned[0] if planned else self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        planned = _planned_ids.get(())
        return planned[1] if len(planned) > 1 else self._random.getrandbits(128) or 1


class _LastingProvider(TracerProvider):
    """Goes on when the user's code shuts tracing down: that would lose the spans of the items after it."""

    def shutdown(self) -> None:
        """Do nothing; what has ended is flushed by `RunTracer.flush`."""


def _time_spans_by_our_clock() -> None:
    """Time all spans, the user's too, by a clock that nobody freezes; OpenTelemetry takes its own by name."""
    vars(opentelemetry.sdk.trace)["time_ns"] = CLOCK.time_ns


def _list_only_what_is_loaded() -> None:
    """Let Langfuse's API name only those of its modules that are loaded.

    It loads them on use, and lists them all. Freezegun asks every module for every name that it lists, and these would
    be loaded with dates which Pydantic does not know.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "langfuse" and "__dir__" in vars(module):
            vars(module)["__dir__"] = partial(list, vars(module))


class Sdk:
    """The Langfuse SDK, taken over so that the user's code finds this very client; a spare worker opens it ahead.

    Attributes:
        settings: Those of the environment before any code of the user's could change it.
    """

    def __init__(self) -> None:
        _time_spans_by_our_clock()
        _list_only_what_is_loaded()
        self.exporter = _OutboxExporter()
        self.settings = load_settings()
        self.provider = _LastingProvider(
            resource=Resource.create({}),
            span_limits=SpanLimits(max_span_attributes=MOST_ATTRIBUTES),
            id_generator=_OwnIds(),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(_ItemContext(self.exporter))
        trace.set_tracer_provider(self.provider)
        self.client = Langfuse(
            environment=EXPERIMENT_ENVIRONMENT, span_exporter=self.exporter, tracer_provider=self.provider
        )
        self.observations = ObservationMaker(self.provider, self.settings.langfuse_public_key or "")
        self._warm_up()

    def _warm_up(self) -> None:
        """Make, encode and drop one span, since the first one takes many times as long as the next."""
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer(__name__)
        span = tracer.start_span("warm-up", attributes={"a": 1})
        span.end()
        if isinstance(span, ReadableSpan):
            encode([span])


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """The two spans around a task, while it runs."""

    root: Observation
    span: Observation
    unit: _Unit

    def ran(self, started: datetime, ended_ns: int) -> None:
        """Note when the task itself ran: it may have waited for its turn, and ended before the runner learned of it."""
        self.unit.begun_ns = nanoseconds(started)
        self.span.ended_ns = self.root.ended_ns = ended_ns

    def succeed(self, output: JsonValue) -> None:
        """Note the task's output."""
        self.span.end_with(output)
        self.root.end_with(output)

    def fail(self, error: str, cause: Mapping[str, str] | None = None) -> None:
        """Note why the task failed; `cause` is the exception as attributes of an event."""
        for span in (self.span, self.root):
            span.fail(f"Error: {error}", error)
        if cause is not None:
            self.span.span.add_event("exception", cause)


class RunTracer:
    """Makes the spans of one run."""

    def __init__(self, sdk: Sdk, run_spec: RunSpec, spans: ItemSpans, outbox: Outbox) -> None:
        """Begin tracing.

        Args:
            sdk: Makes the spans.
            run_spec: The run's order.
            spans: What the spans carry.
            outbox: Where spans go.
        """
        self._run_spec = run_spec
        self._spans = spans
        self._exporter, self._provider = sdk.exporter, sdk.provider
        self.client, self.observations = sdk.client, sdk.observations
        self._exporter.outbox = outbox

    def flush(self) -> None:
        """Move the spans of all closed units to the outbox, and those that have ended and are of none.

        Raises:
            StateError: The outbox cannot be written.
        """
        self._provider.force_flush()
        self._exporter.write()
        if self._exporter.failure is not None:
            raise self._exporter.failure

    @contextmanager
    def task(self, item: DatasetItem, repeat: int, attempt: int, started: datetime) -> Iterator[TaskSpan]:
        """Open the spans around one item's task; spans within get the item's attributes.

        Args:
            item: The dataset item.
            repeat: The repetition.
            attempt: How many results the journal has of the item already.
            started: When the two spans begin.
        """
        ids = item_ids(self._run_spec.experiments[repeat].id, self._run_spec.created, item.id, attempt)
        attributes = self._spans.around_task(item, repeat, ids.observation_id)
        start = nanoseconds(started)
        trace_id, root_id, task_id = (int(each, 16) for each in (ids.trace_id, ids.root_id, ids.observation_id))
        with ExitStack() as opened:
            unit = opened.enter_context(self._recorded_together())
            root = opened.enter_context(
                self._open_own(
                    unit,
                    (root_id, trace_id),
                    ROOT_SPAN,
                    item.input,
                    attributes | {LangfuseOtelSpanAttributes.IS_APP_ROOT: True},
                    start,
                    context.Context(),
                )
            )
            span = opened.enter_context(self._open_own(unit, (task_id,), TASK_SPAN, item.input, attributes, start))
            shared = self._spans.shared(item, repeat)
            opened.enter_context(_set(_item_attributes, {**shared, ROOT_OBSERVATION: span.id}))
            yield TaskSpan(root, span, unit)

    @contextmanager
    def evaluation(self, item: DatasetItem, ended: ItemEnded, round: int) -> Iterator[Observation]:
        """Open the span around the evaluators of one item, as a child of its root.

        Args:
            item: The dataset item.
            ended: The result that is evaluated.
            round: How often the journal has it evaluated already.
        """
        shared = {**self._spans.shared(item, ended.repeat), ROOT_OBSERVATION: ended.observation_id}
        root = NonRecordingSpan(span_context(ended.trace_id, ended.root_id))
        parent = baggage.set_baggage(APP_ROOT_CLAIM, ended.trace_id, trace.set_span_in_context(root, context.Context()))
        planned = (int(evaluation_id(ended.observation_id, round), 16),)
        with ExitStack() as opened:
            unit = opened.enter_context(self._recorded_together())
            opened.callback(context.detach, context.attach(parent))
            span = opened.enter_context(self._open_own(unit, planned, EVALUATION_SPAN, None, shared))
            opened.enter_context(_set(_item_attributes, shared))
            yield span

    @contextmanager
    def _recorded_together(self) -> Iterator[_Unit]:
        """Let the spans within wait for the record that is made when they have ended; drop them when none is."""
        unit = _Unit()
        try:
            with _set(_unit, unit):
                yield unit
        except BaseException:
            unit.state = "dropped"
            raise
        self._exporter.close(unit)

    @contextmanager
    def _open_own(
        self,
        unit: _Unit,
        ids: Sequence[int],
        name: str,
        input: JsonValue,
        attributes: Mapping[str, str | bool],
        start_ns: int | None = None,
        parent: context.Context | None = None,
    ) -> Iterator[Observation]:
        with ExitStack() as opened:
            with _set(_planned_ids, ids):
                span = opened.enter_context(
                    self.observations.open(name, input=input, attributes=attributes, parent=parent, start_ns=start_ns)
                )
            if isinstance(span.span, Span):
                unit.own.append(span.span)
            yield span


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
