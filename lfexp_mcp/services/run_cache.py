"""Runs as they were read from Langfuse, kept for the further pages of an answer.

Reading a large run takes many requests. It goes on when the call that began it is over, and the next call joins it.
"""

import asyncio
import operator
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.gateway import Experiment
from lfexp_mcp.model import RunRecord

Value = TypeVar("Value")

MAX_RESULTS = 20_000
"""Results in memory, of all runs together; the run that was read last is kept whatever its size."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    head: Experiment
    record: RunRecord
    taken: float


@dataclass(frozen=True, slots=True)
class _Reading:
    head: Experiment
    task: asyncio.Task[RunRecord]


class Memo(Generic[Value]):
    """The last result of an expensive computation, found again by the identity of its inputs."""

    def __init__(self) -> None:
        self._inputs: tuple[object, ...] = ()
        self._value: Value | None = None

    def find(self, *inputs: object) -> Value | None:
        """Return the value if it was computed from these very objects."""
        same = len(inputs) == len(self._inputs) and all(map(operator.is_, inputs, self._inputs))
        return self._value if same else None

    def keep(self, value: Value, *inputs: object) -> Value:
        """Keep a value with its inputs, and return it."""
        self._inputs, self._value = inputs, value
        return value


class RunCache:
    """The runs that this process has read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Snapshot] = OrderedDict()
        self._reading: dict[str, _Reading] = {}
        self.merged: Memo[RunRecord] = Memo()
        """A run's results in Langfuse merged with its journal, by both."""
        self.described: Memo[RunAnswer] = Memo()
        """The answer that describes a run, by its record."""

    async def get(
        self, head: Experiment, read: Callable[[], Awaitable[RunRecord]], *, max_age_s: float = 0
    ) -> RunRecord:
        """Return a run from memory, or read it; cancelling the call does not cancel the reading.

        Args:
            head: The run as Langfuse lists it now. A snapshot is used only while nothing of it has changed.
            read: Reads the run.
            max_age_s: How old a snapshot may be; it lacks scores that were added to its items since.

        Raises:
            LfexpError: As `read`.
        """
        kept = self._kept.get(head.id)
        if kept is not None and kept.head == head and time.monotonic() - kept.taken <= max_age_s:
            return kept.record
        reading = self._reading.get(head.id)
        if reading is None or reading.head != head:
            reading = self._reading[head.id] = _Reading(head, asyncio.create_task(self._read(head, read)))
            # A failure that nobody waits for is dropped; the next call reads again.
            reading.task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({reading.task})
        return reading.task.result()

    async def _read(self, head: Experiment, read: Callable[[], Awaitable[RunRecord]]) -> RunRecord:
        try:
            record = await read()
        finally:
            if (reading := self._reading.get(head.id)) is not None and reading.head == head:
                del self._reading[head.id]
        self._kept[head.id] = _Snapshot(head, record, time.monotonic())
        self._kept.move_to_end(head.id)
        while len(self._kept) > 1 and sum(len(kept.record.items) for kept in self._kept.values()) > MAX_RESULTS:
            self._kept.popitem(last=False)
        return record

    async def close(self) -> None:
        """Cancel what is still being read."""
        tasks = [reading.task for reading in self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
