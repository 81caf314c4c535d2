"""Attributes of a run's spans, and the spans of a result rebuilt from the journal.

Names, nesting and attributes are those of the SDK's own experiments (`Langfuse._process_experiment_item`, 5.0.4), so
that Langfuse shows them alike.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from langfuse import LangfuseOtelSpanAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags
from pydantic import JsonValue

from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded
from lfexp_mcp.runs.span_batches import SCORED_ITEM
from lfexp_mcp.worker.own_spans import Attributes
from lfexp_mcp.worker.telemetry import sdk_scope

ROOT_SPAN = "experiment-item-run"
TASK_SPAN = "experiment-item-task"
NAMES = LangfuseOtelSpanAttributes
_to_json = json.JSONEncoder(ensure_ascii=False).encode
_to_compact_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
ROOT_OBSERVATION = NAMES.EXPERIMENT_ITEM_ROOT_OBSERVATION_ID


class ItemSpans:
    """The attributes of one run's spans.

    Args:
        run_spec: The run spec.
        metadata: Of the experiment of each repetition.
        scores_only: Whether they are of a scoring: they belong to the traces of the results, not to the experiment,
            of which Langfuse shows the name, metadata and end of its newest span.
    """

    def __init__(
        self, run_spec: RunSpec, metadata: Sequence[Mapping[str, JsonValue]], *, scores_only: bool = False
    ) -> None:
        self._run_spec = run_spec
        self._scores_only = scores_only
        self._run = [
            Attributes(
                {
                    NAMES.ENVIRONMENT: EXPERIMENT_ENVIRONMENT,
                    NAMES.EXPERIMENT_ID: experiment.id,
                    NAMES.EXPERIMENT_NAME: experiment.name,
                    NAMES.EXPERIMENT_DATASET_ID: run_spec.dataset_id,
                    NAMES.EXPERIMENT_METADATA: _to_json(of_experiment),
                }
            )
            for experiment, of_experiment in zip(run_spec.experiments, metadata, strict=True)
        ]
        of_run = {**run_spec.metadata, "experiment_name": run_spec.run_name, "dataset_id": run_spec.dataset_id}
        self._set_by_run = {*of_run, "experiment_run_name"}
        of_run.pop("dataset_item_id", None)
        described = {NAMES.EXPERIMENT_DESCRIPTION: run_spec.description} if run_spec.description else {}
        self._run_task = [
            Attributes(
                {
                    NAMES.OBSERVATION_TYPE: "span",
                    **described,
                    **metadata_attributes({**of_run, "experiment_run_name": experiment.name}),
                }
            )
            for experiment in run_spec.experiments
        ]

    def shared(self, item: DatasetItem, repeat: int, observation_id: str) -> tuple[Attributes, ...]:
        """Return the attributes of all spans of an item, those of the user's code included."""
        attributes = {NAMES.EXPERIMENT_ITEM_ID: item.id, ROOT_OBSERVATION: observation_id}
        if item.metadata:
            attributes[NAMES.EXPERIMENT_ITEM_METADATA] = _to_json(item.metadata)
        return self._run[repeat], Attributes(attributes)

    def of_evaluation(self, item: DatasetItem, repeat: int, observation_id: str) -> tuple[Attributes, ...]:
        """Return the attributes of all spans of an evaluation."""
        if not self._scores_only:
            return self.shared(item, repeat, observation_id)
        of = dict(zip(SCORED_ITEM, (self._run_spec.experiments[repeat].id, item.id), strict=True))
        return (Attributes({NAMES.ENVIRONMENT: EXPERIMENT_ENVIRONMENT, **of}),)

    def of_task(self, item: DatasetItem, repeat: int) -> tuple[Attributes, ...]:
        """Return what the two spans around the task have beside that: their type, metadata, input and expectation."""
        own = {name: value for name, value in item.metadata.items() if name not in self._set_by_run}
        attributes = metadata_attributes({**own, "dataset_item_id": item.id})
        if item.expected_output is not None:
            attributes[NAMES.EXPERIMENT_ITEM_EXPECTED_OUTPUT] = attribute_text(item.expected_output)
        if item.input is not None:
            attributes[NAMES.OBSERVATION_INPUT] = attribute_text(item.input)
        return self._run_task[repeat], Attributes(attributes)

    def rebuild(self, item: DatasetItem, ended: ItemEnded, resource: Resource, public_key: str) -> list[ReadableSpan]:
        """Rebuild the spans around a task with the ids that they had, with the resource of the run's other spans."""
        parts = (*self.of_task(item, ended.repeat), *self.shared(item, ended.repeat, ended.observation_id))
        attributes = {name: value for part in parts for name, value in part.values.items()}
        if ended.status == "failed":
            error = ended.error or ""
            attributes |= failure_attributes(f"Error: {error}", error)
        elif ended.output is not None:
            attributes[NAMES.OBSERVATION_OUTPUT] = attribute_text(ended.output)
        # Langfuse may tell rows with the same id apart by their start times.
        start = nanoseconds(ended.started)
        # The root of a result from another machine is not known.
        has_root = ended.root_id != ended.observation_id
        spans: list[tuple[str, str, str | None]] = [(ROOT_SPAN, ended.root_id, None)] if has_root else []
        spans.append((TASK_SPAN, ended.observation_id, ended.root_id if has_root else None))
        return [
            ReadableSpan(
                name=name,
                context=span_context(ended.trace_id, span_id),
                parent=span_context(ended.trace_id, parent) if parent else None,
                resource=resource,
                attributes=attributes if parent else {**attributes, NAMES.IS_APP_ROOT: True},
                start_time=start,
                end_time=start + round((ended.seconds or 0.0) * 1e9),
                instrumentation_scope=sdk_scope(public_key),
            )
            for name, span_id, parent in spans
        ]


def failure_attributes(output: JsonValue, message: str) -> dict[str, str]:
    """Return the attributes of a failed observation: what to show as its output, and why it failed."""
    return {
        NAMES.OBSERVATION_OUTPUT: attribute_text(output),
        NAMES.OBSERVATION_LEVEL: "ERROR",
        NAMES.OBSERVATION_STATUS_MESSAGE: message,
    }


def metadata_attributes(metadata: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return metadata as the SDK writes it: one attribute per key, each value as JSON, without None."""
    return {
        f"{NAMES.OBSERVATION_METADATA}.{key}": _to_compact_json(value)
        for key, value in metadata.items()
        if value is not None
    }


def attribute_text(value: JsonValue) -> str:
    """Return a value as the SDK writes inputs and outputs: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else _to_json(value)


def span_context(trace_id: str, span_id: str) -> SpanContext:
    """Return the context of a span from its ids in hexadecimal digits."""
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def nanoseconds(moment: datetime) -> int:
    """Return a time in nanoseconds since the epoch, exact to the microsecond."""
    return round(moment.timestamp() * 1e6) * 1000
