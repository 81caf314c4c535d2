"""What the spans of an item carry, and the two around its task made again from the journal.

Names, nesting and attributes are those of the SDK's own experiments (`Langfuse._process_experiment_item`, 5.0.4), so
that Langfuse shows the same.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from langfuse import LangfuseOtelSpanAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags
from pydantic import JsonValue

from lfexp_mcp.gateway.records import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.model import DatasetItem, ExperimentHead, RunSpec
from lfexp_mcp.runs.identity import ItemIds
from lfexp_mcp.runs.journal import ItemEnded
from lfexp_mcp.worker.observations import attribute_text, failure_attributes, metadata_attributes, sdk_scope

ROOT_SPAN = "experiment-item-run"
TASK_SPAN = "experiment-item-task"
_NAMES = LangfuseOtelSpanAttributes
ROOT_OBSERVATION = _NAMES.EXPERIMENT_ITEM_ROOT_OBSERVATION_ID


class ItemSpans:
    """The attributes of one run's spans."""

    def __init__(self, run_spec: RunSpec, metadata: Sequence[Mapping[str, JsonValue]]) -> None:
        """Prepare.

        Args:
            run_spec: The run's order.
            metadata: What Langfuse shall keep as the metadata of each repetition.
        """
        self._run_spec = run_spec
        self._metadata = [json.dumps(each, ensure_ascii=False) for each in metadata]

    def shared(self, item: DatasetItem, repeat: int) -> dict[str, str]:
        """Return what every span of an item carries."""
        experiment = self._run_spec.experiments[repeat]
        attributes = {
            _NAMES.ENVIRONMENT: EXPERIMENT_ENVIRONMENT,
            _NAMES.EXPERIMENT_ID: experiment.id,
            _NAMES.EXPERIMENT_NAME: experiment.name,
            _NAMES.EXPERIMENT_DATASET_ID: self._run_spec.dataset_id,
            _NAMES.EXPERIMENT_ITEM_ID: item.id,
            _NAMES.EXPERIMENT_METADATA: self._metadata[repeat],
        }
        if item.metadata:
            attributes[_NAMES.EXPERIMENT_ITEM_METADATA] = json.dumps(item.metadata, ensure_ascii=False)
        return attributes

    def around_task(self, item: DatasetItem, repeat: int, observation_id: str) -> dict[str, str]:
        """Return what the two spans around the task carry, those attributes included that all spans do."""
        attributes = metadata_attributes(self._observation_metadata(item, self._run_spec.experiments[repeat]))
        if self._run_spec.description:
            attributes[_NAMES.EXPERIMENT_DESCRIPTION] = self._run_spec.description
        if item.expected_output is not None:
            attributes[_NAMES.EXPERIMENT_ITEM_EXPECTED_OUTPUT] = attribute_text(item.expected_output)
        return {**attributes, **self.shared(item, repeat), ROOT_OBSERVATION: observation_id}

    def rebuild(self, item: DatasetItem, ended: ItemEnded, resource: Resource, public_key: str) -> list[ReadableSpan]:
        """Make the spans around a task again, under the ids that they had.

        Args:
            item: The dataset item.
            ended: Its result, as the journal has it.
            resource: That of the run's other spans.
            public_key: Of the project.
        """
        attributes: dict[str, str | bool] = {
            _NAMES.OBSERVATION_TYPE: "span",
            **self.around_task(item, ended.repeat, ended.observation_id),
        }
        if item.input is not None:
            attributes[_NAMES.OBSERVATION_INPUT] = attribute_text(item.input)
        if ended.status == "failed":
            error = ended.error or ""
            attributes |= failure_attributes(f"Error: {error}", error)
        elif ended.output is not None:
            attributes[_NAMES.OBSERVATION_OUTPUT] = attribute_text(ended.output)
        # Langfuse may tell rows of one id apart by the time at which they began.
        start = nanoseconds(ended.started)
        ids = ItemIds(ended.trace_id, ended.root_id, ended.observation_id)
        # A result that another machine made is known without its root.
        has_root = ids.root_id != ids.observation_id
        spans: list[tuple[str, str, str | None]] = [(ROOT_SPAN, ids.root_id, None)] if has_root else []
        spans.append((TASK_SPAN, ids.observation_id, ids.root_id if has_root else None))
        return [
            ReadableSpan(
                name=name,
                context=span_context(ids.trace_id, span_id),
                parent=span_context(ids.trace_id, parent) if parent else None,
                resource=resource,
                attributes=attributes if parent else {**attributes, _NAMES.IS_APP_ROOT: True},
                start_time=start,
                end_time=start + round(ended.seconds * 1e9),
                instrumentation_scope=sdk_scope(public_key),
            )
            for name, span_id, parent in spans
        ]

    def _observation_metadata(self, item: DatasetItem, experiment: ExperimentHead) -> dict[str, JsonValue]:
        return {
            **item.metadata,
            **self._run_spec.metadata,
            "experiment_name": self._run_spec.run_name,
            "experiment_run_name": experiment.name,
            "dataset_id": self._run_spec.dataset_id,
            "dataset_item_id": item.id,
        }


def span_context(trace_id: str, span_id: str) -> SpanContext:
    """Return the context of a span by its ids in hexadecimal digits."""
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def nanoseconds(moment: datetime) -> int:
    """Return a time as OpenTelemetry has it, exact to the microsecond."""
    return round(moment.timestamp() * 1e6) * 1000
