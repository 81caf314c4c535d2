"""Replays of journals that are read again and again: each reads only what was added since its last look."""

import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from threading import Lock

from lfexp_mcp.model import DatasetItem, ItemResult, RunRecord, RunSpec
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.record import build_record, build_result
from lfexp_mcp.runs.run_state import ItemKey, RunState

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
        self.state = RunState()
        self._reader = JournalReader(self.folder.journal_path)
        self._items: dict[str, DatasetItem] = {}
        """A run keeps the items that it has; a resume may add some."""
        self._results: dict[ItemKey, ItemResult] = {}
        """By repetition and item, as a record lists them."""
        self._changed: set[ItemKey] = set()
        """Results that events have changed since the last record."""
        self._record: tuple[object, RunRecord] | None = None
        """The last record, after what it was made of."""

    @property
    def size(self) -> int:
        """Results in memory."""
        return len(self.state.ended)

    @property
    def share_read(self) -> float:
        """The part of the journal that has been read, from 0 to 1."""
        return min(self._reader.offset / self._seen[1], 1.0) if self._seen and self._seen[1] else 0.0

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
            if self._seen is not None and (seen is None or seen[0] != self._seen[0] or seen[1] < self._seen[1]):
                # The folder was deleted, and perhaps created anew under the same name.
                self._begin()
            self._seen, self.is_current = seen, False
            while not self.is_current:
                before = self._reader.offset
                self.state.apply(self._noted(self._reader.read(LINES_PER_LOOK)))
                self.is_current = self._reader.offset == before or self._reader.offset >= (seen[1] if seen else 0)
                if time.monotonic() >= until:
                    break
            return self.is_current

    def _noted(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, ItemEnded | ItemScored):
                self._changed.add((event.repeat, event.item_id))
            yield event

    def record(self) -> RunRecord:
        """Return the run as of the last `refresh`; the same object as long as nothing has changed.

        Raises:
            StateError: The folder cannot be read.
        """
        with self._lock:
            run_spec, status = self.folder.run_spec(), self.folder.status_of(self.state)
            exit_reason = self.folder.worker.exit_reason
            made_of = (self._reader.offset, run_spec, status, exit_reason)
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
        if len(self._items) != run_spec.item_count:
            self._items = {item.id: item for item in self.folder.items(run_spec)}
            self._results.clear()
            changed = {(repeat, item_id): None for repeat in range(run_spec.repeats) for item_id in self._items}
        elif not self._changed and self._record is not None:
            return self._record[1].items
        else:
            changed = dict.fromkeys(self._changed & self._results.keys())
        for repeat, item_id in changed:
            self._results[repeat, item_id] = build_result(self._items[item_id], repeat, self.state)
        self._changed.clear()
        return tuple(self._results.values())

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
