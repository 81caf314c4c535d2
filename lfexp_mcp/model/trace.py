"""What a task did: the observations of its trace."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

EVALUATION_SPAN = "experiment-item-evaluation"
"""The span around an item's evaluators."""
MODEL_CALLS = frozenset({"GENERATION", "EMBEDDING"})
"""Types of observations that cost money; those around them may repeat the sum of what is within."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One span, generation, tool call or event of a trace."""

    id: str
    type: str
    """Such as `SPAN`, `GENERATION` or `TOOL`."""
    started: datetime
    ended: datetime | None = None
    trace_id: str = ""
    name: str | None = None
    parent_id: str | None = None
    """The observation that it was made within; None at the top of its task."""
    level: str | None = None
    """`DEBUG`, `DEFAULT`, `WARNING` or `ERROR`."""
    status_message: str | None = None
    """Why it failed, for example."""
    environment: str | None = None
    session_id: str | None = None
    input: JsonValue = None
    output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    model: str | None = None
    usage: dict[str, float] = field(default_factory=dict)
    """Tokens by kind."""
    cost: float | None = None
    """USD; None where no price is known."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None for what has not ended."""
        return (self.ended - self.started).total_seconds() if self.ended else None


@dataclass(frozen=True, slots=True)
class Trace:
    """What the task of one item did, without what its evaluators and judges did.

    Example:
        ```python
        def searches(*, trace, **kwargs):
            return {"value": sum(each.type == "TOOL" for each in trace.observations), "metadata": {"scale": "0-10"}}
        ```
    """

    id: str
    observations: tuple[Observation, ...] = ()
    """In the order of their start, parents first. Langfuse keeps whole milliseconds: of those that it lists, the order
    within one is only known for those that did not end together."""
    seconds: float | None = None
    """How long the task took."""

    @property
    def cost(self) -> float | None:
        """What the task's model calls cost, in USD; None if the price of one is not known, or if there is none."""
        costs = [each.cost for each in self.observations if each.type in MODEL_CALLS]
        return sum(cost for cost in costs if cost is not None) if costs and None not in costs else None

    @classmethod
    def of_task(
        cls, trace_id: str, task_id: str, recorded: Iterable[Observation], seconds: float | None = None
    ) -> "Trace":
        """Pick the observations of a task from those of its trace.

        They are those within the task's span, and those whose parents are not recorded if they began before its end.
        The spans around task and evaluators are left out.

        Args:
            recorded: The observations of the trace; one that is listed twice counts once, as it ended last.
            seconds: How long the task took; as its span says if not given.
        """
        known: dict[str, Observation] = {}
        for each in recorded:
            before = known.get(each.id)
            if before is None or (before.ended or before.started) < (each.ended or each.started):
                known[each.id] = each
        task = known.get(task_id)
        end = task.ended if task else None
        around = {task_id, *_lineage(task_id, known)}
        places = _places(task_id, known)
        kept: list[tuple[datetime, int, datetime, int, Observation]] = []
        for position, each in enumerate(known.values()):
            place = places[each.id]
            is_early = end is None or each.started < end
            if each.id in around or place.within == "evaluation" or not (place.within == "task" or is_early):
                continue
            own = replace(each, parent_id=None) if each.parent_id in around or not each.parent_id else each
            kept.append((each.started, place.depth, each.ended or each.started, position, own))
        if seconds is None and task is not None:
            seconds = task.seconds
        ordered = sorted(kept, key=lambda entry: entry[:4])
        return cls(trace_id, tuple(each for *_, each in ordered), seconds)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in its trace an observation is."""

    within: Literal["task", "evaluation"] | None
    depth: int


def _places(task_id: str, known: Mapping[str, Observation]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    # Up to the first observation whose place is known, so that a chain of thousands is walked once and not from each.
    for each in known:
        path: list[str] = []
        for one in _lineage(each, known):
            if one in places:
                break
            path.append(one)
        for one in reversed(path):
            above = places.get(known[one].parent_id or "", _Place(None, -1))
            within = "task" if one == task_id else "evaluation" if known[one].name == EVALUATION_SPAN else above.within
            places[one] = _Place(within, above.depth + 1)
    return places


def _lineage(id: str, known: Mapping[str, Observation]) -> Iterator[str]:
    """Yield an observation and those that it is within, as far as they are known, each once."""
    seen: set[str] = set()
    at: str | None = id
    while at and at in known and at not in seen:
        seen.add(at)
        yield at
        at = known[at].parent_id
