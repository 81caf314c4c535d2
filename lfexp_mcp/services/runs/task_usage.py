"""Tokens and cost of the model calls that a run's tasks made."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT, Observation
from lfexp_mcp.model import ItemResult, RunRecord
from lfexp_mcp.services.workspace import Workspace

MAX_CALLS_PER_ITEM = 20
"""Model calls per item beyond which no more are read: the figures are then left out rather than given too low."""
MIN_CALLS_READ = 2_000


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
    timed = [item for item in record.items if item.trace_id]
    starts = [item.started for item in timed if item.started is not None and item.seconds is not None]
    if not starts:
        return RunTaskUsage({})
    longest = max(item.seconds or 0.0 for item in timed)
    until = max(starts) + timedelta(seconds=longest + 1)
    most = max(MIN_CALLS_READ, MAX_CALLS_PER_ITEM * len(starts))
    calls = await ws.gateway.observations.find(
        type="GENERATION",
        environment=EXPERIMENT_ENVIRONMENT,
        since=min(starts),
        until=until,
        with_content=False,
        max_rows=most,
    )
    if len(calls) >= most:
        warning = f"Tokens and cost are left out: over {most} model calls were made during this run."
        return RunTaskUsage({}, (warning,))
    items = _usage_by_item(timed, calls)
    unpriced = sum(usage.cost is None for usage in items.values())
    if not unpriced:
        return RunTaskUsage(items)
    where = f"{unpriced} of {len(items)} items" if unpriced < len(items) else "this run"
    return RunTaskUsage(items, (f"The cost of {where} is unknown: Langfuse has no price for a model that was called.",))


def _usage_by_item(items: Iterable[ItemResult], calls: Iterable[Observation]) -> dict[str, TaskUsage]:
    """Add up the calls of each item's task: those of its trace that began before it ended."""
    tasks = {item.trace_id: item for item in items}
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


def _is_of_task(item: ItemResult, call: Observation) -> bool:
    if item.started is None or item.seconds is None:
        return False
    end = item.started + timedelta(seconds=item.seconds)
    # Langfuse keeps whole milliseconds. A judge may begin within the one in which the task ends; the task's own calls
    # begin earlier.
    return call.started < end.replace(microsecond=end.microsecond // 1000 * 1000)


def _tokens(call: Observation, side: str) -> float:
    """Tokens of one side; kinds such as `input_cached_tokens` belong to a side by their name."""
    return sum(count for kind, count in call.usage.items() if kind.startswith(side))
