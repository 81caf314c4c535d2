"""Attributes of a run's spans, and the spans of a result rebuilt from the journal.

Names, nesting and attributes are those of the SDK's own experiments (`Langfuse._process_experiment_item`, 5.0.4), so
that Langfuse shows them alike.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from langfuse import LangfuseOtelSpanAttributes
from langfuse import __version__ as sdk_version
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags
from pydantic import JsonValue

from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded
from lfexp_mcp.runs.span_batches import SCORED_ITEM

ROOT_SPAN = "experiment-item-run"
TASK_SPAN = "experiment-item-task"
SCOPE = "langfuse-sdk"
"""Instrumentation scope of the SDK; Langfuse reads the attributes of its spans according to its version."""
NAMES = LangfuseOtelSpanAttributes
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
        self._metadata = [json.dumps(each, ensure_ascii=False) for each in metadata]
        self._scores_only = scores_only

    def shared_attributes(self, item: DatasetItem, repeat: int) -> dict[str, str]:
        """Return the attributes of all spans of an item, those of the user's code included."""
        experiment = self._run_spec.experiments[repeat]
        attributes = {
            NAMES.ENVIRONMENT: EXPERIMENT_ENVIRONMENT,
            NAMES.EXPERIMENT_ID: experiment.id,
            NAMES.EXPERIMENT_NAME: experiment.name,
            NAMES.EXPERIMENT_DATASET_ID: self._run_spec.dataset_id,
            NAMES.EXPERIMENT_ITEM_ID: item.id,
            NAMES.EXPERIMENT_METADATA: self._metadata[repeat],
        }
        if item.metadata:
            attributes[NAMES.EXPERIMENT_ITEM_METADATA] = json.dumps(item.metadata, ensure_ascii=False)
        return attributes

    def evaluation_attributes(self, item: DatasetItem, repeat: int, observation_id: str) -> dict[str, str]:
        """Return the attributes of all spans of an evaluation."""
        if not self._scores_only:
            return {**self.shared_attributes(item, repeat), ROOT_OBSERVATION: observation_id}
        of = dict(zip(SCORED_ITEM, (self._run_spec.experiments[repeat].id, item.id), strict=True))
        return {NAMES.ENVIRONMENT: EXPERIMENT_ENVIRONMENT, **of}

    def task_attributes(self, item: DatasetItem, repeat: int, observation_id: str) -> dict[str, str]:
        """Return the attributes of the two spans around the task, the shared ones included."""
        metadata = {
            **item.metadata,
            **self._run_spec.metadata,
            "experiment_name": self._run_spec.run_name,
            "experiment_run_name": self._run_spec.experiments[repeat].name,
            "dataset_id": self._run_spec.dataset_id,
            "dataset_item_id": item.id,
        }
        attributes = metadata_attributes(metadata)
        if self._run_spec.description:
            attributes[NAMES.EXPERIMENT_DESCRIPTION] = self._run_spec.description
        if item.expected_output is not None:
            attributes[NAMES.EXPERIMENT_ITEM_EXPECTED_OUTPUT] = attribute_text(item.expected_output)
        return {**attributes, **self.shared_attributes(item, repeat), ROOT_OBSERVATION: observation_id}

    def rebuild(self, item: DatasetItem, ended: ItemEnded, resource: Resource, public_key: str) -> list[ReadableSpan]:
        """Rebuild the spans around a task with the ids that they had, with the resource of the run's other spans."""
        attributes: dict[str, str | bool] = {
            NAMES.OBSERVATION_TYPE: "span",
            **self.task_attributes(item, ended.repeat, ended.observation_id),
        }
        if item.input is not None:
            attributes[NAMES.OBSERVATION_INPUT] = attribute_text(item.input)
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
                instrumentation_scope=InstrumentationScope(SCOPE, sdk_version, attributes={"public_key": public_key}),
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
        f"{NAMES.OBSERVATION_METADATA}.{key}": json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        for key, value in metadata.items()
        if value is not None
    }


def attribute_text(value: JsonValue) -> str:
    """Return a value as the SDK writes inputs and outputs: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
