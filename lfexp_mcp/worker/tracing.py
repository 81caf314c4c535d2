"""The spans of a run's items.

Unlike in the SDK's own experiments, an item's root span ends with its task, and the evaluation is a child of it even
if a resumed run makes it later. Spans reach the outbox together with the journal record of the result or scores that
they belong to, so that nothing is sent that a killed process did not record.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext
from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import EVALUATION_SPAN, DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded
from lfexp_mcp.runs.identity import ItemIds, evaluation_id, item_ids
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.worker.own_spans import Attributes, OwnSpan
from lfexp_mcp.worker.sdk import Sdk
from lfexp_mcp.worker.spans import (
    NAMES,
    ROOT_SPAN,
    TASK_SPAN,
    ItemSpans,
    attribute_text,
    failure_attributes,
    metadata_attributes,
    nanoseconds,
    span_context,
)
from lfexp_mcp.worker.telemetry import APP_ROOT_CLAIM, BATCH, SpanBatch

_APP_ROOT = Attributes({NAMES.IS_APP_ROOT: True})
_SPAN = Attributes({NAMES.OBSERVATION_TYPE: "span"})


def output_attributes(output: JsonValue) -> Attributes:
    """Return the output of a span as attributes."""
    return Attributes({} if output is None else {NAMES.OBSERVATION_OUTPUT: attribute_text(output)})


class EvaluatorSpan:
    """A span of an evaluation or evaluator that has started."""

    def __init__(self, span: OwnSpan) -> None:
        self._span = span

    def succeed(self, output: JsonValue) -> None:
        """Set the output."""
        self._span.add(output_attributes(output))

    def fail(self, output: JsonValue, message: str) -> None:
        """Set what to show as the output, and why it failed."""
        self._span.add(Attributes(failure_attributes(output, message)))


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """The two spans around a task."""

    ids: ItemIds
    root: OwnSpan
    task: OwnSpan
    batch: SpanBatch

    def set_times(self, started: datetime, ended_ns: int) -> None:
        """Set when the task itself ran: it may have waited for a thread, and ended before the worker learned of it."""
        self.batch.started_ns = nanoseconds(started)
        self.batch.ended_ns = ended_ns

    def succeed(self, output: JsonValue) -> None:
        """Set the task's output."""
        self._add(output_attributes(output))

    def fail(self, error: str, exception: Mapping[str, str] | None = None) -> None:
        """Set why the task failed; `exception` holds the attributes of an exception event."""
        self._add(Attributes(failure_attributes(f"Error: {error}", error)))
        if exception is not None:
            self.task.add_event("exception", exception)

    def _add(self, attributes: Attributes) -> None:
        self.task.add(attributes)
        self.root.add(attributes)


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
        self._own, self._new_id = sdk.provider.own, sdk.provider.id_generator.generate_span_id

    def flush(self) -> None:
        """Write to the outbox the spans of all closed batches, and those that ended outside of any.

        Raises:
            StateError: The outbox cannot be written.
        """
        self._provider.force_flush()
        self._exporter.write(self._own)
        if self._exporter.failure is not None:
            raise self._exporter.failure

    @contextmanager
    def task(self, item: DatasetItem, repeat: int, attempt: int) -> Iterator[TaskSpan]:
        """Open the spans around the task of one item, for its attempt that follows `attempt` results."""
        ids = item_ids(self._run_spec.experiments[repeat].id, self._run_spec.created, item.id, attempt)
        shared = self._spans.shared(item, repeat, ids.observation_id)
        attributes = (*shared, *self._spans.of_task(item, repeat))
        batch = SpanBatch(shared, kept=[] if self.keeps_spans else None)
        start_ns = nanoseconds(CLOCK.now())
        root_ids, task_ids = (span_context(ids.trace_id, each) for each in (ids.root_id, ids.observation_id))
        root = OwnSpan(
            self._own, ROOT_SPAN, root_ids, None, *attributes, _APP_ROOT, start_ns=start_ns, within=Context()
        )
        around = trace.set_span_in_context(root)
        task = OwnSpan(self._own, TASK_SPAN, task_ids, root_ids, *attributes, start_ns=start_ns, within=around)
        with self._record(batch, around, root, task):
            yield TaskSpan(ids, root, task, batch)

    @contextmanager
    def evaluation(self, item: DatasetItem, ended: ItemEnded, round: int) -> Iterator[EvaluatorSpan]:
        """Open the span around the evaluators of one result, a child of its root, after `round` earlier evaluations."""
        shared = self._spans.of_evaluation(item, ended.repeat, ended.observation_id)
        ids = span_context(ended.trace_id, evaluation_id(ended.observation_id, round))
        root_ids = span_context(ended.trace_id, ended.root_id)
        around = trace.set_span_in_context(NonRecordingSpan(root_ids), Context())
        around = baggage.set_baggage(APP_ROOT_CLAIM, ended.trace_id, around)
        span = OwnSpan(self._own, EVALUATION_SPAN, ids, root_ids, *shared, _SPAN, within=around)
        with self._record(SpanBatch(shared), around, span):
            yield EvaluatorSpan(span)

    @contextmanager
    def evaluator(self, name: str, index: int, input: JsonValue) -> Iterator[EvaluatorSpan]:
        """Open the span of one evaluator, within that of the evaluation."""
        batch, parent = BATCH.get(), trace.get_current_span().get_span_context()
        ids = SpanContext(parent.trace_id, self._new_id(), is_remote=False, trace_flags=parent.trace_flags)
        attributes = {
            NAMES.OBSERVATION_TYPE: "evaluator",
            NAMES.OBSERVATION_INPUT: attribute_text(input),
            **metadata_attributes({"evaluator_kind": "item", "evaluator_index": index}),
        }
        span = OwnSpan(self._own, name, ids, parent, *batch.shared, Attributes(attributes))
        self._add(span, batch)
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield EvaluatorSpan(span)
        finally:
            context.detach(token)
            span.finish()

    @contextmanager
    def _record(self, batch: SpanBatch, around: Context, *own: OwnSpan) -> Iterator[None]:
        """Make the last of these spans the parent of those within, and end them.

        All are held until the journal record that follows is written, and dropped on an error.
        """
        for span in own:
            self._add(span, batch)
        token, batch_token = context.attach(trace.set_span_in_context(own[-1], around)), BATCH.set(batch)
        try:
            yield
        except BaseException:
            batch.state = "dropped"
            raise
        finally:
            BATCH.reset(batch_token)
            context.detach(token)
            for span in reversed(own):
                span.finish(batch.ended_ns)
        self._exporter.close(batch)

    def _add(self, span: OwnSpan, batch: SpanBatch) -> None:
        batch.own.append(span)
        self._exporter.assign(span, batch)
