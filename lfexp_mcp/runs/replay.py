"""Replays of journals that are read again and again: each reads only what was added since its last look."""

from collections import OrderedDict
from threading import Lock

from lfexp_mcp.model import DatasetItem, RunRecord
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.run_state import RunState

MAX_KEPT = 4
"""Replays in memory; one of 100,000 items takes about 300 MB."""


class Replay:
    """The state of one run, kept up to date with its journal. Thread-safe."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.state = RunState()
        self._reader = JournalReader(folder.journal_path)
        self._seen: tuple[int, int] | None = None
        self._items: tuple[DatasetItem, ...] | None = None
        self._ended: tuple[object, RunRecord] | None = None
        """The record of an ended run, after what it was made of."""
        self._lock = Lock()

    def record(self) -> RunRecord:
        """Return the run as of the last `refresh`.

        Raises:
            StateError: The folder cannot be read.
        """
        if self._items is None:
            # A run keeps the items that it began with.
            self._items = tuple(self.folder.items())
        if self.state.run_ended is None:
            return self.folder.record_of(self.state, self._items)
        run_spec = self.folder.run_spec()
        made_of = (self._seen, run_spec, self.folder.status_of(self.state), self.folder.worker.exit_reason)
        if self._ended is None or self._ended[0] != made_of:
            self._ended = made_of, self.folder.record_of(self.state, self._items)
        return self._ended[1]

    def refresh(self) -> RunState:
        """Apply what was added to the journal, and return the state.

        Raises:
            StateError: The journal cannot be read.
        """
        with self._lock:
            seen = self._look()
            if self._seen is not None and (seen is None or seen[0] != self._seen[0] or seen[1] < self._seen[1]):
                # The folder was deleted, and perhaps created anew under the same name.
                self.state, self._reader = RunState(), JournalReader(self.folder.journal_path)
                self._items = None
            self._seen = seen
            self.state.apply(self._reader.read())
            return self.state

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
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return replay
