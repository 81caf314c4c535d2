"""Runs as they were read from Langfuse, kept for the further pages of an answer.

Reading a large run takes many requests. It goes on when the call that began it is over, and the next call joins it.
"""

import asyncio
import math
import operator
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Generic, TypeVar

import anyio

from lfexp_mcp.answers.run import ItemError, RepeatedScore, RunAnswer, ScoreSummary
from lfexp_mcp.gateway import Experiment
from lfexp_mcp.model import Holdout, ItemResult, ItemStatus, Provenance, RunRecord, Scale
from lfexp_mcp.scores.interpretation import ScoreInterpretation

Value = TypeVar("Value")

MAX_RESULTS = 200_000
"""Results in memory, of all runs together; the run that was read last is kept whatever its size."""
MIN_AGE_S = 60.0
"""Age from which a snapshot is read again although the call has no time to wait for it."""
MAX_AGE_S = 300.0
"""Age up to which a snapshot is shown, with its age, where there is no time to read the run again."""
MAX_SUMMARIES = 4


_Version = tuple[Experiment, Holdout | None]
"""A run as Langfuse lists it, and the holdout of its dataset."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    of: _Version
    record: RunRecord
    taken: float


@dataclass(frozen=True, slots=True)
class _Reading:
    of: _Version
    task: asyncio.Task[RunRecord]


class Memo(Generic[Value]):
    """The last result of an expensive computation, found again by the identity of its inputs."""

    def __init__(self) -> None:
        self._inputs: tuple[object, ...] = ()
        self._value: Value | None = None

    def find(self, *inputs: object) -> Value | None:
        """Return the value if it was computed from these very objects; another one is dropped."""
        if len(inputs) != len(self._inputs) or not all(map(operator.is_, inputs, self._inputs)):
            # The new value may be as large, and need not be held beside the old one.
            self.drop()
        return self._value

    def drop(self) -> None:
        """Forget the value and its inputs."""
        self._inputs, self._value = (), None

    def keep(self, value: Value, *inputs: object) -> Value:
        """Keep a value with its inputs, and return it."""
        self._inputs, self._value = inputs, value
        return value


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What an answer says of all results of a run together."""

    made: datetime
    interpretations: dict[str, ScoreInterpretation]
    """See `ScoredRun`, as for `humans`."""
    humans: dict[str, ScoreInterpretation]
    counts: Counter[ItemStatus]
    scores: list[ScoreSummary]
    repeated_scores: list[RepeatedScore]
    evaluators: list[str]
    errors: list[ItemError]
    warnings: list[str]
    """Without those of the record."""


@dataclass(slots=True)
class _Summarised:
    """The last summary of a run, with what it was made of."""

    lock: Lock = field(default_factory=Lock)
    items: tuple[ItemResult, ...] | None = None
    provenance: Provenance | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    summary: RunSummary | None = None


class Summaries:
    """The last summaries of a few runs. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Summarised] = OrderedDict()
        self._lock = Lock()

    def get(
        self, run_id: str, record: RunRecord, scales: Mapping[str, Scale], make: Callable[[], RunSummary]
    ) -> RunSummary:
        """Return the summary of these very results, made unless it is in memory.

        Args:
            run_id: The run's first experiment id.
            scales: Those of score configs.
            make: Makes it; only one thread at a time does for a run.
        """
        with self._lock:
            kept = self._kept.setdefault(run_id, _Summarised())
            self._kept.move_to_end(run_id)
            while len(self._kept) > MAX_SUMMARIES:
                self._kept.popitem(last=False)
        with kept.lock:
            same = kept.items is record.items and kept.provenance is record.provenance and kept.scales == scales
            if kept.summary is None or not same:
                kept.items = None
                kept.summary = make()
                kept.items, kept.provenance, kept.scales = record.items, record.provenance, scales
            return kept.summary

    def drop_results(self) -> None:
        """Forget the results that summaries were made of, so that the next call makes its summary anew."""
        with self._lock:
            for kept in self._kept.values():
                kept.items = None

    def last(self, run_id: str) -> RunSummary | None:
        """Return the last summary of a run that was finished; None if there is none."""
        with self._lock:
            kept = self._kept.get(run_id)
            return kept.summary if kept is not None else None


class RunCache:
    """The runs that this process has read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Snapshot] = OrderedDict()
        self._reading: dict[str, _Reading] = {}
        self.merged: Memo[RunRecord] = Memo()
        """A run's results in Langfuse merged with its journal, by both."""
        self.open_results: Memo[tuple[Holdout, RunRecord]] = Memo()
        """A run as read from its journal, without what a holdout holds, by the run with it."""
        self.named: Memo[RunRecord] = Memo()
        """A run with its scores named by their makers, by the run as it was read."""
        self.summaries = Summaries()
        self.described: Memo[RunAnswer] = Memo()
        """The answer that describes an ended run, by its summary."""

    async def get(
        self,
        head: Experiment,
        read: Callable[[], Awaitable[RunRecord]],
        *,
        holdout: Holdout | None = None,
        max_age_s: float = 0,
        until: float = math.inf,
        takes_s: float = 0,
    ) -> tuple[RunRecord, float]:
        """Return a run from memory, or read it; the reading goes on when the call is cancelled or has no time.

        Args:
            head: The run as Langfuse lists it now. A snapshot is used only while nothing of it has changed.
            read: Reads the run.
            holdout: The one that its dataset has now; a snapshot by another one is not used.
            max_age_s: How old a snapshot may be; it lacks scores that were added to its items since.
            until: When to give up, on anyio's clock; an older snapshot is returned then.
            takes_s: How long the reading takes at least. If that is too long, it is not waited for.

        Returns:
            The run, and how many seconds ago it was read.

        Raises:
            TimeoutError: There was no time, and there is no snapshot.
            LfexpError: As `read`.
        """
        version = (head, holdout)
        kept = self._kept.get(head.id)
        age = time.monotonic() - kept.taken if kept is not None and kept.of == version else math.inf
        if kept is not None and age <= max_age_s:
            return kept.record, age
        has_time = anyio.current_time() + takes_s < until
        reading = self._reading.get(head.id)
        if (reading is None or reading.of != version) and (has_time or age > MIN_AGE_S):
            reading = self._reading[head.id] = _Reading(version, asyncio.create_task(self._read(version, read)))
            # A failure that nobody waits for is dropped; the next call reads again.
            reading.task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if has_time and reading is not None:
            await asyncio.wait({reading.task}, timeout=None if until == math.inf else until - anyio.current_time())
            if reading.task.done():
                return reading.task.result(), 0.0
        if kept is not None and age <= MAX_AGE_S:
            return kept.record, age
        raise TimeoutError

    async def _read(self, version: _Version, read: Callable[[], Awaitable[RunRecord]]) -> RunRecord:
        run_id = version[0].id
        try:
            record = await read()
        finally:
            if (reading := self._reading.get(run_id)) is not None and reading.of == version:
                del self._reading[run_id]
        self._kept[run_id] = _Snapshot(version, record, time.monotonic())
        self._kept.move_to_end(run_id)
        # The newest one stays, since its further pages are about to be asked for.
        while len(self._kept) > 1 and sum(len(kept.record.items) for kept in self._kept.values()) > MAX_RESULTS:
            self._kept.popitem(last=False)
        return record

    def drop_results(self) -> None:
        """Forget the results of runs as they were, which a call that follows a run would hold beside its new ones."""
        for memo in (self.merged, self.open_results, self.named, self.described):
            memo.drop()
        self.summaries.drop_results()

    async def close(self) -> None:
        """Cancel what is still being read."""
        tasks = [reading.task for reading in self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
