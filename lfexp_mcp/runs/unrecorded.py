"""Spans in an outbox that belong to no record of the journal: a kill came between the two."""

from pathlib import Path

from lfexp_mcp.disk import write_durably
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.framing import frame
from lfexp_mcp.runs.identity import evaluation_id, item_ids
from lfexp_mcp.runs.outbox import SUFFIX, read_batches, waiting_files
from lfexp_mcp.runs.run_state import RunState


def drop_unrecorded(outbox: Path, run_spec: RunSpec, state: RunState) -> None:
    """Remove the spans of results and evaluations that the journal lacks: they are made again under the same ids.

    Args:
        outbox: The folder; nobody else works on it.
        run_spec: The run's order.
        state: The journal.

    Raises:
        StateError: The outbox cannot be read or written.
    """
    from lfexp_mcp.runs.otlp import drop_spans

    repeats = {experiment.id: repeat for repeat, experiment in enumerate(run_spec.experiments)}

    def next_ids(experiment_id: str, item_id: str) -> tuple[str, str]:
        """The trace of the item's next result, and the span of the next evaluation of the one that it has."""
        key = (repeats.get(experiment_id, -1), item_id)
        ended = state.ended.get(key)
        trace_id = item_ids(experiment_id, run_spec.created, item_id, state.attempts[key]).trace_id
        evaluation = evaluation_id(ended.observation_id, state.evaluations[key]) if ended else ""
        return trace_id, evaluation

    try:
        for path in waiting_files(outbox):
            # Version 0.1 did not settle ids beforehand.
            if path.suffix != SUFFIX:
                continue
            batches = read_batches(path).contents
            kept = [part for batch in batches if (part := drop_spans(batch, next_ids))]
            if kept != batches:
                write_durably(path, map(frame, kept))
    except OSError as error:
        raise StateError(f"The run's outbox {outbox} cannot be used ({error.strerror or error}).") from error
