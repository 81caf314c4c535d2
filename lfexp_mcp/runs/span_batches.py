"""Encoded batches of spans: splitting and filtering their spans. Loads protobuf, so import it on use."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from lfexp_mcp.disk import write_durably
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.framing import frame
from lfexp_mcp.runs.identity import evaluation_id, item_ids
from lfexp_mcp.runs.outbox import SUFFIX, count_spans, read_batches, waiting_files
from lfexp_mcp.runs.run_state import RunState

_ITEM = ("langfuse.experiment.id", "langfuse.experiment.item.id")
"""Attributes that name the experiment and dataset item of a span."""
SCORED_ITEM = ("lfexp.experiment.id", "lfexp.experiment.item.id")
"""The same of a span of a scoring, which Langfuse is not to count among those of the experiment."""


def is_batch(content: bytes) -> bool:
    """Tell whether this is an encoded `ExportTraceServiceRequest`."""
    try:
        ExportTraceServiceRequest.FromString(content)
    except DecodeError:
        return False
    return True


def name_spans(batch: bytes) -> list[tuple[str, str]]:
    """Return id and name of each span."""
    return [(span.span_id.hex(), span.name) for scope in _scopes(batch) for span in scope.spans]


def split_batch(batch: bytes) -> tuple[bytes, bytes]:
    """Split a batch of at least two spans into two batches of about the same number of spans."""
    request = ExportTraceServiceRequest.FromString(batch)
    half = count_spans(batch) // 2
    parts = (ExportTraceServiceRequest(), ExportTraceServiceRequest())
    position = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            cut = min(max(half - position, 0), len(scope.spans))
            for part, spans in ((parts[0], scope.spans[:cut]), (parts[1], scope.spans[cut:])):
                if spans:
                    own = ScopeSpans(scope=scope.scope, spans=spans, schema_url=scope.schema_url)
                    part.resource_spans.append(
                        ResourceSpans(resource=resource.resource, scope_spans=[own], schema_url=resource.schema_url)
                    )
            position += len(scope.spans)
    return parts[0].SerializeToString(), parts[1].SerializeToString()


def _scopes(batch: bytes) -> list[ScopeSpans]:
    request = ExportTraceServiceRequest.FromString(batch)
    return [scope for resource in request.resource_spans for scope in resource.scope_spans]


def drop_spans(batch: bytes, unwanted: Callable[[str, str], tuple[str, str]]) -> bytes:
    """Drop spans of dataset items from a batch.

    Args:
        batch: An encoded request.
        unwanted: Returns, for an experiment id and an item id, the id of the trace to drop, and that of the span to
            drop with its descendants.

    Returns:
        The same batch if nothing is dropped; empty if nothing is left.
    """
    request = ExportTraceServiceRequest.FromString(batch)
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    parents = {span.span_id: span.parent_span_id for scope in scopes for span in scope.spans}
    dropped: set[bytes] = set()
    for scope in scopes:
        for span in scope.spans:
            values = {each.key: each.value.string_value for each in span.attributes}
            named = next((names for names in (_ITEM, SCORED_ITEM) if values.keys() >= {*names}), None)
            if named is None:
                continue
            trace_id, root = unwanted(*(values[name] for name in named))
            if span.trace_id.hex() == trace_id or root in _lineage(span.span_id, parents):
                dropped.add(span.span_id)
    if not dropped:
        return batch
    for scope in scopes:
        kept = [span for span in scope.spans if span.span_id not in dropped]
        del scope.spans[:]
        scope.spans.extend(kept)
    return request.SerializeToString() if len(dropped) < len(parents) else b""


def _lineage(span_id: bytes, parents: Mapping[bytes, bytes]) -> Iterator[str]:
    """Yield the ids of a span and of those above it."""
    seen: set[bytes] = set()
    while span_id and span_id not in seen:
        seen.add(span_id)
        yield span_id.hex()
        span_id = parents.get(span_id, b"")


def drop_unrecorded(outbox: Path, run_spec: RunSpec, state: RunState) -> None:
    """Drop the spans of results and evaluations that a kill left unjournaled: they are made again under the same ids.

    Args:
        outbox: The folder; no other process may use it meanwhile.
        run_spec: The run spec.
        state: The state by the run's journal.

    Raises:
        StateError: The outbox cannot be read or written.
    """
    repeats = {experiment.id: repeat for repeat, experiment in enumerate(run_spec.experiments)}

    def next_ids(experiment_id: str, item_id: str) -> tuple[str, str]:
        """The trace of the item's next result, and the span of the next evaluation of its newest one."""
        key = (repeats.get(experiment_id, -1), item_id)
        ended = state.ended.get(key)
        trace_id = item_ids(experiment_id, run_spec.created, item_id, state.attempts(key)).trace_id
        evaluation = evaluation_id(ended.observation_id, state.evaluations(key)) if ended else ""
        return trace_id, evaluation

    try:
        for path in waiting_files(outbox):
            # Version 0.1 did not derive ids beforehand.
            if path.suffix != SUFFIX:
                continue
            batches = read_batches(path).contents
            kept = [part for batch in batches if (part := drop_spans(batch, next_ids))]
            if kept != batches:
                write_durably(path, map(frame, kept))
    except OSError as error:
        raise StateError(f"The run's outbox {outbox} cannot be used ({error.strerror or error}).") from error
