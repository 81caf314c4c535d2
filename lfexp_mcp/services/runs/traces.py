"""What the tasks of a run did: the observations of their traces, as answers show them."""

from collections.abc import Sequence

import anyio

from lfexp_mcp.answers.run import ObservationAnswer
from lfexp_mcp.errors import BackendError
from lfexp_mcp.model import ItemResult, Observation, Trace
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.workspace import Workspace

MAX_OBSERVATIONS = 1000
"""Observations read of a trace."""


async def read_traces(
    ws: Workspace, results: Sequence[ItemResult], until: float
) -> tuple[dict[str, tuple[Observation, ...]], list[str]]:
    """Read what the tasks of some results did.

    Args:
        ws: The workspace.
        results: The results; of one that is running, what Langfuse has so far.
        until: When to give up, on anyio's clock.

    Returns:
        The observations by trace id, in the order of their start, and notes on what is not known.
    """
    found: dict[str, tuple[Observation, ...]] = {}
    notes = []
    for item in results:
        if item.trace_id is None:
            continue
        try:
            with anyio.fail_after(max(until - anyio.current_time(), 0)):
                recorded = await ws.gateway.observations.find(trace_id=item.trace_id, max_rows=MAX_OBSERVATIONS)
        except (BackendError, TimeoutError) as error:
            why = str(error) or "Langfuse has not sent it in time."
            notes.append(f"What the task of {item.item_id!r} did is not known: {why}")
            continue
        if not recorded:
            notes.append(f"Langfuse does not show the trace of {item.item_id!r} (yet).")
        if len(recorded) >= MAX_OBSERVATIONS:
            notes.append(f"Only the newest {MAX_OBSERVATIONS:,} observations of trace {item.trace_id} were read.")
        found[item.trace_id] = Trace.of_task(item.trace_id, item.observation_id or "", reversed(recorded)).observations
    return found, notes


def show_observations(
    observations: Sequence[Observation], size: AnswerSize, *, measured: bool
) -> list[ObservationAnswer]:
    """Show the first of a trace's observations at a given size; time, tokens and cost only where they were measured."""
    known = {each.id for each in observations}
    return [
        ObservationAnswer(
            id=each.id,
            type=each.type,
            name=each.name,
            # A parent that is not recorded is not to be looked for.
            parent=each.parent_id if each.parent_id in known else None,
            level=each.level if each.level != "DEFAULT" else None,
            message=size.truncate_optional(each.status_message),
            input=size.truncate(each.input),
            output=size.truncate(each.output),
            model=each.model,
            usage=each.usage if measured else {},
            cost_usd=each.cost if measured else None,
            seconds=each.seconds if measured else None,
        )
        for each in observations[: size.rows]
    ]
