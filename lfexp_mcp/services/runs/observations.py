"""What the tasks of a run did, by the observations of their traces; and what their model calls used and cost."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import ObservationAnswer
from lfexp_mcp.errors import BackendError
from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.gateway import Observation as ListedObservation
from lfexp_mcp.model import ItemResult, Observation, RunRecord, Trace
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.workspace import Workspace

MAX_OBSERVATIONS = 1000
"""Observations read of a trace."""


async def read_traces(
    ws: Workspace, results: Sequence[ItemResult], until: float
) -> tuple[dict[str, tuple[Observation, ...]], list[str]]:
    """Read what the tasks of some results did.

    Args:
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


MAX_CALLS_PER_ITEM = 20
"""Model calls per item beyond which no more are read: the figures are then left out rather than given too low."""
MIN_CALLS_READ = 2_000
"""Read in any case: those of other runs at the same time are among them."""


@dataclass(frozen=True, slots=True)
class TaskUsage:
    """Model calls of one item's task, all repeats together."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost: float | None = 0.0
    """USD; None if Langfuse has no price for one of the calls."""

    @property
    def tokens(self) -> float:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class RunTaskUsage:
    """Model calls of a run's tasks."""

    items: dict[str, TaskUsage]
    """By item id; empty if no call was traced, or if there are too many to read."""
    warnings: tuple[str, ...] = ()


async def read_task_usage(ws: Workspace, record: RunRecord) -> RunTaskUsage:
    """Read what the model calls of each item's task used.

    Calls that a judge or evaluator made are left out: they begin after the task has ended.
    """
    since, last, longest, timed = math.inf, -math.inf, 0.0, 0
    for item in record.items:
        started, seconds = item.started, item.seconds
        if started is not None and seconds is not None:
            begun = started.timestamp()
            since, last, longest, timed = min(since, begun), max(last, begun), max(longest, seconds), timed + 1
    if not timed:
        return RunTaskUsage({})
    most = max(MIN_CALLS_READ, MAX_CALLS_PER_ITEM * timed)
    calls = await ws.gateway.observations.find(
        type="GENERATION",
        environment=EXPERIMENT_ENVIRONMENT,
        since=datetime.fromtimestamp(since, UTC),
        until=datetime.fromtimestamp(last + longest + 1, UTC),
        with_content=False,
        max_rows=most,
    )
    if len(calls) >= most:
        warning = f"Tokens and cost are left out: over {most} model calls were made during this run."
        return RunTaskUsage({}, (warning,))
    items = await anyio.to_thread.run_sync(_usage_by_item, record.items, calls)
    unpriced = sum(usage.cost is None for usage in items.values())
    if not unpriced:
        return RunTaskUsage(items)
    where = f"{unpriced} of {len(items)} items" if unpriced < len(items) else "this run"
    return RunTaskUsage(items, (f"The cost of {where} is unknown: Langfuse has no price for a model that was called.",))


def _usage_by_item(items: Iterable[ItemResult], calls: Sequence[ListedObservation]) -> dict[str, TaskUsage]:
    """Add up the calls of each item's task: those of its trace that began before it ended."""
    called = {call.trace_id for call in calls}
    # Most runs have none, and the traces of many results are read from disk.
    tasks = {item.trace_id: item for item in items if item.trace_id in called} if called else {}
    found: dict[str, TaskUsage] = {}
    for call in calls:
        item = tasks.get(call.trace_id)
        if item is not None and _is_of_task(item, call):
            usage = found.get(item.item_id, TaskUsage())
            found[item.item_id] = TaskUsage(
                usage.input_tokens + _tokens(call, "input"),
                usage.output_tokens + _tokens(call, "output"),
                None if usage.cost is None or call.cost is None else usage.cost + call.cost,
            )
    return found


def _is_of_task(item: ItemResult, call: ListedObservation) -> bool:
    if item.started is None or item.seconds is None:
        return False
    end = item.started + timedelta(seconds=item.seconds)
    # Langfuse keeps whole milliseconds. A judge may begin within the one in which the task ends; the task's own calls
    # begin earlier.
    return call.started < end.replace(microsecond=end.microsecond // 1000 * 1000)


def _tokens(call: ListedObservation, side: str) -> float:
    """Tokens of one side; kinds such as `input_cached_tokens` belong to a side by their name."""
    return sum(count for kind, count in call.usage.items() if kind.startswith(side))
