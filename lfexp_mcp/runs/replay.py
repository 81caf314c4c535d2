"""Replays of journals that are read again and again: each reads only what was added since its last look."""

import math
import time
from collections import OrderedDict
from threading import Lock

from lfexp_mcp.model import ItemResult, RunRecord, RunSpec
from lfexp_mcp.runs.contents import RunContents
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.journaled_result import JournaledResult, JournaledResults
from lfexp_mcp.runs.record import build_record
from lfexp_mcp.runs.run_state import RunState

MAX_KEPT = 4
MAX_RESULTS = 200_000
"""Results in memory, of all replays together; the replay that was asked for last is kept whatever its size."""
LINES_PER_LOOK = 500
"""Lines of a journal between two looks at the time."""


class Replay:
    """The state of one run, kept up to date with its journal. Thread-safe."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.is_current = False
        """Whether the last `refresh` read the journal to its end."""
        self._lock = Lock()
        self._seen: tuple[int, int] | None = None
        self._begin()

    def _begin(self) -> None:
        self.state = RunState(JournalReader(self.folder.journal_path))
        self._contents = RunContents(self.folder, self.state.journal)
        self._make = JournaledResults(self._contents)
        self._results: list[JournaledResult | None] = []
        """By the numbers of their items, without their contents."""
        self._has_changed = True
        """Whether events have changed results since the last record."""
        self._record: tuple[object, RunRecord] | None = None
        """The last record, after what it was made of."""

    @property
    def size(self) -> int:
        """Results in memory."""
        return len(self.state.ended)

    @property
    def share_read(self) -> float:
        """The part of the journal that has been read, from 0 to 1."""
        return min(self.state.journal.offset / self._seen[1], 1.0) if self._seen and self._seen[1] else 0.0

    def refresh(self, seconds: float = math.inf) -> bool:
        """Apply what was added to the journal.

        Args:
            seconds: Stop after about so long, with a little read in any case; the next call goes on from there.

        Returns:
            Whether it has been read to its end. If not, the state is that of an earlier time.

        Raises:
            StateError: The journal cannot be read.
        """
        until = time.monotonic() + seconds
        with self._lock:
            seen = self._look()
            has_moved = self._seen is not None and (seen is None or seen[0] != self._seen[0])
            if has_moved or self.state.journal.is_replaced():
                # The folder was deleted, and perhaps created again under the same name.
                self._begin()
            self._seen, self.is_current = seen, False
            while not self.is_current:
                journal, before = self.state.journal, self.state.journal.offset
                for event in self.state.read(LINES_PER_LOOK):
                    self._note(event)
                self.is_current = journal.offset == before or journal.offset >= (seen[1] if seen else 0)
                if time.monotonic() >= until:
                    break
            return self.is_current

    def _note(self, event: Event) -> None:
        """Keep what an event says of an item's result, which has been applied to the state."""
        if not isinstance(event, ItemEnded | ItemScored):
            return
        numbers, offset = self.state.numbers, self.state.journal.offset
        number = numbers.of((event.repeat, event.item_id))
        result = self._result(number)
        if isinstance(event, ItemEnded):
            # All that know the id share one text.
            self._keep(number, self._make.ended(event, numbers.item_id(number), offset))
        elif result is not None and result.status != "pending":
            self._keep(number, self._make.scored(result, event, offset))
        # The results of the last record would be held beside the new ones.
        self._has_changed, self._record = True, None

    def _keep(self, number: int, result: JournaledResult) -> JournaledResult:
        if number >= len(self._results):
            self._results += [None] * (number + 1 - len(self._results))
        self._results[number] = result
        return result

    def _result(self, number: int) -> JournaledResult | None:
        return self._results[number] if number < len(self._results) else None

    def record(self) -> RunRecord:
        """Return the run as of the last `refresh`; the same object as long as nothing has changed.

        Raises:
            StateError: The folder cannot be read.
        """
        with self._lock:
            run_spec, status = self.folder.run_spec(), self.folder.status_of(self.state)
            exit_reason = self.folder.worker.exit_reason
            made_of = (self.state.journal.offset, run_spec, status, exit_reason)
            if self._record is None or self._record[0] != made_of:
                results = self._update_results(run_spec)
                self._record = made_of, build_record(run_spec, results, self.state, status, exit_reason)
            return self._record[1]

    def undelivered(self) -> int:
        """Count the spans and scores that Langfuse has not acknowledged; the journal of a completed run has none."""
        with self._lock:
            ended = self.state.run_ended
            return 0 if ended is not None and ended.status == "completed" else self.folder.undelivered(self.state)

    def _update_results(self, run_spec: RunSpec) -> tuple[ItemResult, ...]:
        items = self._contents.items
        if items is None or len(items) != run_spec.item_count:
            items = self._contents.items = self.folder.stored_items(run_spec, self.state.numbers)
        elif not self._has_changed and self._record is not None:
            return self._record[1].items
        self._has_changed = False
        keys = ((repeat, item_id) for repeat in range(run_spec.repeats) for item_id in items)
        return tuple(self._result_of(*key) for key in keys)

    def _result_of(self, repeat: int, item_id: str) -> JournaledResult:
        number = self.state.numbers.of((repeat, item_id))
        return self._result(number) or self._keep(number, self._make.pending(item_id, repeat))

    def _look(self) -> tuple[int, int] | None:
        """Inode and size of the journal; None where there is none."""
        try:
            found = self.folder.journal_path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size


class Replays:
    """The replays of the runs that were read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Replay] = OrderedDict()
        self._lock = Lock()

    def of(self, folder: RunFolder) -> Replay:
        """Return the replay of a run; its first `refresh` reads the whole journal."""
        with self._lock:
            replay = self._kept.pop(folder.path.name, None) or Replay(folder)
            self._kept[folder.path.name] = replay
            while len(self._kept) > 1 and (
                len(self._kept) > MAX_KEPT or sum(each.size for each in self._kept.values()) > MAX_RESULTS
            ):
                self._kept.popitem(last=False)
            return replay
