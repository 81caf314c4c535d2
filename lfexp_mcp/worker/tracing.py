"""The spans of a run's items.

Unlike in the SDK's own experiments, an item's root span ends with its task, and the evaluation is a child of it even
if a resumed run makes it later. Spans reach the outbox together with the journal record of the result or scores that
they belong to, so that nothing is sent that a killed process did not record.

The worker's own spans, four per item, are made with OpenTelemetry directly: the SDK's wrapper searches every value for
media and sets each attribute separately, which takes a third of the time of an empty item. Spans of models and of the
user's code are the SDK's.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from langfuse import __version__ as sdk_version
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import NonRecordingSpan, Span, format_span_id, format_trace_id, use_span
from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import EVALUATION_SPAN, DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded
from lfexp_mcp.runs.identity import evaluation_id, item_ids
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.worker.sdk import BATCH, ITEM_ATTRIBUTES, PLANNED_IDS, Sdk, SpanBatch
from lfexp_mcp.worker.spans import (
    NAMES,
    ROOT_OBSERVATION,
    ROOT_SPAN,
    SCOPE,
    TASK_SPAN,
    ItemSpans,
    attribute_text,
    failure_attributes,
    metadata_attributes,
    nanoseconds,
    span_context,
)

T = TypeVar("T")

APP_ROOT_CLAIM = "langfuse_trace_id"
"""Baggage that tells the SDK that a trace already has its root."""


class Observation:
    """A span that has started.

    Attributes:
        ended_ns: When it ended; None for when its context is left.
    """

    def __init__(self, span: Span) -> None:
        self.span = span
        self.ended_ns: int | None = None
        context = span.get_span_context()
        self.id = format_span_id(context.span_id)
        self.trace_id = format_trace_id(context.trace_id)

    def succeed(self, output: JsonValue) -> None:
        """Set the output."""
        if output is not None:
            self.span.set_attribute(NAMES.OBSERVATION_OUTPUT, attribute_text(output))

    def fail(self, output: JsonValue, message: str) -> None:
        """Set what to show as the output, and why it failed."""
        self.span.set_attributes(failure_attributes(output, message))


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """The two spans around a task."""

    root: Observation
    task: Observation
    batch: SpanBatch

    def set_times(self, started: datetime, ended_ns: int) -> None:
        """Set when the task itself ran: it may have waited for a thread, and ended before the worker learned of it."""
        self.batch.started_ns = nanoseconds(started)
        self.task.ended_ns = self.root.ended_ns = ended_ns

    def succeed(self, output: JsonValue) -> None:
        """Set the task's output."""
        self.task.succeed(output)
        self.root.succeed(output)

    def fail(self, error: str, exception: Mapping[str, str] | None = None) -> None:
        """Set why the task failed; `exception` holds the attributes of an exception event."""
        for observation in (self.task, self.root):
            observation.fail(f"Error: {error}", error)
        if exception is not None:
            self.task.span.add_event("exception", exception)


class RunTracer:
    """Makes the spans of one run.

    Attributes:
        client: The SDK's client, for the spans of models.
        keeps_spans: Whether the spans of tasks are kept for evaluators.
    """

    def __init__(self, sdk: Sdk, run_spec: RunSpec, spans: ItemSpans, outbox: Outbox) -> None:
        self.client = sdk.client
        self.keeps_spans = False
        self._run_spec = run_spec
        self._spans = spans
        self._exporter, self._provider = sdk.exporter, sdk.provider
        self._exporter.outbox = outbox
        public_key = sdk.settings.langfuse_public_key or ""
        self._tracer = sdk.provider.get_tracer(SCOPE, sdk_version, attributes={"public_key": public_key})

    def flush(self) -> None:
        """Write to the outbox the spans of all closed batches, and those that ended outside of any.

        Raises:
            StateError: The outbox cannot be written.
        """
        self._provider.force_flush()
        self._exporter.write()
        if self._exporter.failure is not None:
            raise self._exporter.failure

    @contextmanager
    def task(self, item: DatasetItem, repeat: int, attempt: int) -> Iterator[TaskSpan]:
        """Open the spans around the task of one item, for its attempt that follows `attempt` results."""
        ids = item_ids(self._run_spec.experiments[repeat].id, self._run_spec.created, item.id, attempt)
        task_attributes = self._spans.task_attributes(item, repeat, ids.observation_id)
        root_attributes = task_attributes | {NAMES.IS_APP_ROOT: True}
        start_ns = nanoseconds(CLOCK.now())
        root_ids = (int(ids.root_id, 16), int(ids.trace_id, 16))
        task_ids = (int(ids.observation_id, 16),)
        no_parent = context.Context()
        with (
            self._record(SpanBatch(kept=[] if self.keeps_spans else None)) as batch,
            self._own(batch, root_ids, ROOT_SPAN, item.input, root_attributes, start_ns, no_parent) as root,
            self._own(batch, task_ids, TASK_SPAN, item.input, task_attributes, start_ns) as task,
            _set(ITEM_ATTRIBUTES, {**self._spans.shared_attributes(item, repeat), ROOT_OBSERVATION: task.id}),
        ):
            yield TaskSpan(root, task, batch)

    @contextmanager
    def evaluation(self, item: DatasetItem, ended: ItemEnded, round: int) -> Iterator[Observation]:
        """Open the span around the evaluators of one result, a child of its root, after `round` earlier evaluations."""
        shared = self._spans.evaluation_attributes(item, ended.repeat, ended.observation_id)
        root = NonRecordingSpan(span_context(ended.trace_id, ended.root_id))
        parent = baggage.set_baggage(APP_ROOT_CLAIM, ended.trace_id, trace.set_span_in_context(root, context.Context()))
        ids = (int(evaluation_id(ended.observation_id, round), 16),)
        with (
            self._record(SpanBatch()) as batch,
            _attached(parent),
            self._own(batch, ids, EVALUATION_SPAN, None, shared) as span,
            _set(ITEM_ATTRIBUTES, shared),
        ):
            yield span

    def evaluator(self, name: str, index: int, input: JsonValue) -> AbstractContextManager[Observation]:
        """Open the span of one evaluator, within that of the evaluation."""
        attributes = metadata_attributes({"evaluator_kind": "item", "evaluator_index": index})
        return _current(self._start(name, input, {NAMES.OBSERVATION_TYPE: "evaluator", **attributes}))

    @contextmanager
    def _record(self, batch: SpanBatch) -> Iterator[SpanBatch]:
        """Hold the spans within until the journal record that follows is written; drop them on an error."""
        try:
            with _set(BATCH, batch):
                yield batch
        except BaseException:
            batch.state = "dropped"
            raise
        self._exporter.close(batch)

    @contextmanager
    def _own(
        self,
        batch: SpanBatch,
        ids: Sequence[int],
        name: str,
        input: JsonValue,
        attributes: Mapping[str, str | bool],
        start_ns: int | None = None,
        parent: context.Context | None = None,
    ) -> Iterator[Observation]:
        with _set(PLANNED_IDS, ids):
            observation = self._start(name, input, {NAMES.OBSERVATION_TYPE: "span", **attributes}, start_ns, parent)
        if isinstance(observation.span, SdkSpan):
            batch.own.append(observation.span)
        with _current(observation):
            yield observation

    def _start(
        self,
        name: str,
        input: JsonValue,
        attributes: dict[str, str | bool],
        start_ns: int | None = None,
        parent: context.Context | None = None,
    ) -> Observation:
        if input is not None:
            attributes[NAMES.OBSERVATION_INPUT] = attribute_text(input)
        return Observation(self._tracer.start_span(name, parent, attributes=attributes, start_time=start_ns))


@contextmanager
def _current(observation: Observation) -> Iterator[Observation]:
    """Make an observation the parent of those within, and end it."""
    try:
        with use_span(observation.span):
            yield observation
    finally:
        observation.span.end(observation.ended_ns)


@contextmanager
def _attached(parent: context.Context) -> Iterator[None]:
    token = context.attach(parent)
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
