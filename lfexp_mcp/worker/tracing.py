"""Spans of a run: handed on by the Langfuse SDK, kept in the outbox.

Names, nesting and attributes are those of the SDK's own experiments (`Langfuse._process_experiment_item`, 5.0.4), so
that Langfuse shows the same. Only the root differs: it ends with the task, and the evaluation is its child also when it
is made later, by a resumed run.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random

from langfuse import Langfuse, LangfuseOtelSpanAttributes
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pydantic import JsonValue

from lfexp_mcp.errors import StateError
from lfexp_mcp.gateway.records import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.runs.journal import ItemEnded
from lfexp_mcp.runs.manifest import ExperimentHead, Manifest, RunItem
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.settings import load_settings
from lfexp_mcp.worker.encoding import encode
from lfexp_mcp.worker.observations import Observation, ObservationMaker, attribute_text, metadata_attributes

APP_ROOT_CLAIM = "langfuse_trace_id"
"""Baggage by which the SDK knows that a trace has its root already."""
MOST_ATTRIBUTES = 2048
"""OpenTelemetry keeps 128 by default, and drops the oldest: an item with much metadata would lose its experiment."""

_item_attributes: ContextVar[Mapping[str, str]] = ContextVar("item_attributes")


class _ItemAttributes(SpanProcessor):
    """Gives every span that begins within an item the item's attributes, in threads and tasks alike."""

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:  # noqa: ARG002
        attributes = _item_attributes.get(None)
        if attributes:
            span.set_attributes(attributes)


class _OutboxExporter(SpanExporter):
    """Hands spans to the outbox; `failure` keeps what went wrong, since the SDK ignores an export's result."""

    def __init__(self) -> None:
        self.outbox: Outbox | None = None
        self.failure: StateError | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.outbox is None:
            return SpanExportResult.FAILURE
        try:
            self.outbox.append(encode(spans))
        except StateError as error:
            self.failure = error
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close: the outbox belongs to the run."""


class _OwnIds(IdGenerator):
    """Ids that no script repeats which seeds `random`; to ask the system for each would cost more than a span."""

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311
        if hasattr(os, "register_at_fork"):
            # Children of the user's code would go on with the same sequence as their parent.
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


class _LastingProvider(TracerProvider):
    """Goes on when the user's code shuts tracing down: that would lose the spans of the items after it."""

    def shutdown(self) -> None:
        """Do nothing; what has ended is flushed by `RunTracer.flush`."""


class Sdk:
    """The Langfuse SDK, taken over so that the user's code finds this very client; a spare worker opens it ahead.

    Attributes:
        settings: Those of the environment before any code of the user's could change it.
    """

    def __init__(self) -> None:
        self.exporter = _OutboxExporter()
        self.settings = load_settings()
        self.provider = _LastingProvider(
            resource=Resource.create({}),
            span_limits=SpanLimits(max_span_attributes=MOST_ATTRIBUTES),
            id_generator=_OwnIds(),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(_ItemAttributes())
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

    def __init__(
        self, sdk: Sdk, manifest: Manifest, metadata: Sequence[Mapping[str, JsonValue]], outbox: Outbox
    ) -> None:
        """Begin tracing.

        Args:
            sdk: Makes the spans.
            manifest: The run's order.
            metadata: What Langfuse shall keep as the metadata of each repetition.
            outbox: Where spans go.
        """
        self._manifest = manifest
        self._metadata = [json.dumps(each, ensure_ascii=False) for each in metadata]
        self._exporter, self._provider = sdk.exporter, sdk.provider
        self.client, self.observations = sdk.client, sdk.observations
        self._exporter.outbox = outbox

    def flush(self) -> None:
        """Move all ended spans to the outbox.

        Raises:
            StateError: The outbox cannot be written.
        """
        self._provider.force_flush()
        if self._exporter.failure is not None:
            raise self._exporter.failure

    @contextmanager
    def task(self, item: RunItem, repeat: int) -> Iterator[TaskSpan]:
        """Open the spans around one item's task; spans within get the item's attributes."""
        experiment = self._manifest.experiments[repeat]
        shared = self._attributes(item, experiment, repeat)
        token = _item_attributes.set(shared)
        attributes = {
            **metadata_attributes(self._observation_metadata(item, experiment)),
            **self._own_attributes(item),
        }
        try:
            with (
                self.observations.open("experiment-item-run", input=item.input, attributes=attributes) as root,
                self.observations.open("experiment-item-task", input=item.input, attributes=attributes) as span,
            ):
                for each in (root, span):
                    each.span.set_attribute(_ROOT_OBSERVATION, span.id)
                _item_attributes.set({**shared, _ROOT_OBSERVATION: span.id})
                task = TaskSpan(root, span)
                try:
                    yield task
                except BaseException as stopped:
                    task.fail(f"stopped ({type(stopped).__name__})")
                    raise
        finally:
            _item_attributes.reset(token)

    @contextmanager
    def evaluation(self, item: RunItem, ended: ItemEnded) -> Iterator[Observation]:
        """Open the span around the evaluators of one item, as a child of its root."""
        experiment = self._manifest.experiments[ended.repeat]
        shared = self._attributes(item, experiment, ended.repeat)
        token = _item_attributes.set({**shared, _ROOT_OBSERVATION: ended.observation_id})
        parent = trace.set_span_in_context(_span_of(ended), context.Context())
        attached = context.attach(baggage.set_baggage(APP_ROOT_CLAIM, ended.trace_id, parent))
        try:
            with self.observations.open("experiment-item-evaluation") as span:
                yield span
        finally:
            context.detach(attached)
            _item_attributes.reset(token)

    def _attributes(self, item: RunItem, experiment: ExperimentHead, repeat: int) -> dict[str, str]:
        """What every span of an item carries."""
        names = LangfuseOtelSpanAttributes
        attributes = {
            names.ENVIRONMENT: EXPERIMENT_ENVIRONMENT,
            names.EXPERIMENT_ID: experiment.id,
            names.EXPERIMENT_NAME: experiment.name,
            names.EXPERIMENT_DATASET_ID: self._manifest.dataset_id,
            names.EXPERIMENT_ITEM_ID: item.id,
            names.EXPERIMENT_METADATA: self._metadata[repeat],
        }
        if item.metadata:
            attributes[names.EXPERIMENT_ITEM_METADATA] = json.dumps(item.metadata, ensure_ascii=False)
        return attributes

    def _own_attributes(self, item: RunItem) -> dict[str, str]:
        """What only the two spans around the task carry."""
        names = LangfuseOtelSpanAttributes
        attributes: dict[str, str] = {}
        if self._manifest.description:
            attributes[names.EXPERIMENT_DESCRIPTION] = self._manifest.description
        if item.expected_output is not None:
            attributes[names.EXPERIMENT_ITEM_EXPECTED_OUTPUT] = attribute_text(item.expected_output)
        return attributes

    def _observation_metadata(self, item: RunItem, experiment: ExperimentHead) -> dict[str, JsonValue]:
        return {
            **item.metadata,
            **self._manifest.metadata,
            "experiment_name": self._manifest.run_name,
            "experiment_run_name": experiment.name,
            "dataset_id": self._manifest.dataset_id,
            "dataset_item_id": item.id,
        }


_ROOT_OBSERVATION = LangfuseOtelSpanAttributes.EXPERIMENT_ITEM_ROOT_OBSERVATION_ID


def _span_of(ended: ItemEnded) -> NonRecordingSpan:
    return NonRecordingSpan(
        SpanContext(
            trace_id=int(ended.trace_id, 16),
            span_id=int(ended.root_id, 16),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
    )
