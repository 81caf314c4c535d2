"""The folder of a run on this machine."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.disk import make_folder_durably, move_durably, write_durably
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import DatasetItem, RunSpec, RunStatus
from lfexp_mcp.runs.events import RunEnded
from lfexp_mcp.runs.journal import JournalWriter, read_run_end
from lfexp_mcp.runs.newest_events import ItemNumbers
from lfexp_mcp.runs.outbox import count_waiting_spans, waiting_files
from lfexp_mcp.runs.run_spec import StoredItems, decode_run_spec, encode_items, encode_run_spec, read_items
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.runs.worker_lock import WorkerLock, writing

MAX_END_BYTES = 1_000_000
"""How far from the end of its journal the end of a run is looked for, before a look at the worker's lock."""
DELETE_PAUSES_S = (0.0, 0.05, 0.2, 0.5)
"""A process that records the exit of the folder's worker may put a file back, so deleting is tried again."""


class RunFolder:
    """What is on disk of one run: its spec, dataset items, journal, outbox and log, and the lock of its worker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.worker = WorkerLock(path)
        self.run_spec_path = path / "manifest.json"
        self.scoring_path = path / "scoring.json"
        self.against_path = path / "against.jsonl"
        self.items_path = path / "items.jsonl"
        self.journal_path = path / "journal.jsonl"
        self.outbox_path = path / "outbox"
        self.batches_path = path / "batches"
        self.log_path = path / "run.log"
        self.cancel_path = path / "cancel"
        self.sources_path = path / "sources"
        self._executed_path = path / "executed"
        self._next_path = path / "manifest.next.json"

    def has_started(self) -> bool:
        """Tell whether a worker has ever begun here.

        Raises:
            StateError: The folder cannot be read.
        """
        with self.reading():
            return self.journal_path.exists() and self.journal_path.stat().st_size > 0

    def write_run_spec(self, run_spec: RunSpec, items: Iterable[DatasetItem] | None, *, is_new: bool = True) -> None:
        """Write what the run is asked to do.

        Args:
            run_spec: The run spec; it replaces an older one.
            items: Those that the folder has come first, so that an older spec still reads its own; None keeps them.
            is_new: Whether the run begins; else the older spec stays until a worker adopts the new one.

        Raises:
            StateError: The folder cannot be written.
        """
        with writing(self.path):
            make_folder_durably(self.path)
            if is_new:
                self._next_path.unlink(missing_ok=True)
            if items is not None:
                write_durably(self.items_path, encode_items(items))
            write_durably(self.run_spec_path if is_new else self._next_path, [encode_run_spec(run_spec)])
            self.cancel_path.unlink(missing_ok=True)
            self._executed_path.unlink(missing_ok=True)

    def write_scoring(
        self, run_spec: RunSpec, items: Iterable[DatasetItem] | None, against: Mapping[ItemKey, JsonValue] | None = None
    ) -> None:
        """Write what a worker is to score the run's results with; the run's own spec stays.

        Args:
            run_spec: The run spec, with the judges, the evaluator script and the limits of the scoring.
            items: Its items, those that the folder has first; None keeps them.
            against: The outputs of another run that a pairwise judge compares with, by repetition and item id.

        Raises:
            StateError: The folder cannot be written.
        """
        with writing(self.path):
            if items is not None:
                write_durably(self.items_path, encode_items(items))
            if against is not None:
                lines = (json.dumps([*key, output]).encode() + b"\n" for key, output in against.items())
                write_durably(self.against_path, lines)
            write_durably(self.scoring_path, [encode_run_spec(run_spec)])
            self.cancel_path.unlink(missing_ok=True)

    def scoring(self) -> RunSpec | None:
        """Read what the run was scored with when it was scored again last; None if it never was.

        Raises:
            StateError: It is damaged, or from another version.
        """
        return self._read_run_spec(self.scoring_path) if self.scoring_path.exists() else None

    def outputs_against(self) -> dict[ItemKey, JsonValue]:
        """Read the outputs of another run that a pairwise judge compares with; see `write_scoring`.

        Raises:
            StateError: They are missing or damaged.
        """
        with self.reading(), self.against_path.open("rb") as file:
            return {(repeat, item_id): output for repeat, item_id, output in map(json.loads, file)}

    def next_run_spec(self) -> RunSpec:
        """Read the run spec that a worker is to adopt.

        Raises:
            StateError: It is missing, damaged, or from another version.
        """
        return self._read_run_spec(self._next_path if self._next_path.exists() else self.run_spec_path)

    def adopt_next_run_spec(self) -> None:
        """Make the next run spec the run's own.

        Raises:
            StateError: The folder cannot be written.
        """
        if self._next_path.exists():
            with writing(self.path):
                move_durably(self._next_path, self.run_spec_path)

    def run_spec(self) -> RunSpec:
        """Read the run spec.

        Raises:
            StateError: It is missing, damaged, or from another version.
        """
        return self._read_run_spec(self.run_spec_path)

    def _read_run_spec(self, path: Path) -> RunSpec:
        with self.reading():
            return decode_run_spec(path.read_bytes())

    def items(self, run_spec: RunSpec) -> Iterator[DatasetItem]:
        """Read the dataset items of a run spec in their order.

        Raises:
            StateError: They are missing or damaged.
        """
        with self.reading():
            yield from islice(read_items(self.items_path), run_spec.item_count)

    def stored_items(self, run_spec: RunSpec, numbers: ItemNumbers | None = None) -> StoredItems:
        """Return the dataset items of a run spec, to be read one by one by their ids; see `StoredItems`, `reading`.

        Raises:
            StateError: They are missing or damaged.
        """
        with self.reading():
            return StoredItems(self.items_path, run_spec.item_count, numbers)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise a StateError if what is read of the folder is missing or damaged."""
        try:
            yield
        except (OSError, ValueError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            raise StateError(
                f"The run folder {self.path} cannot be used ({reason}). Nothing in it is lost, and results "
                "that were sent are in Langfuse. To run the dataset here, use another run name."
            ) from error

    def open_journal(self) -> JournalWriter:
        """Open the journal to append to it; only the process that holds the lock does."""
        return JournalWriter(self.journal_path)

    def read_state(self) -> RunState:
        """Read the whole journal."""
        return RunState.of(self.journal_path)

    def status(self) -> RunStatus:
        """Return the status of the run, by the end of its journal."""
        # The end of a scoring is not that of the run.
        if self.scoring_path.exists():
            return self.status_of(self.read_state())
        return "running" if self.is_running() else self._status(read_run_end(self.journal_path))

    def status_of(self, state: RunState) -> RunStatus:
        """Return the status of a run whose journal has been read.

        A run that is scored again is running meanwhile, and then has its own end again. It is `unknown` for a run of
        which this machine has only scored the results.
        """
        status = self._status(state.run_ended, since=state.journal.offset)
        if not state.scores_only or status == "running":
            return status
        if state.is_recorded:
            return "unknown"
        return state.end.status if state.end is not None else "failed"

    def _status(self, ended: RunEnded | None, since: int = 0) -> RunStatus:
        """The one rule: the end that a worker recorded, unless a process delivers what it left."""
        if ended is None and self.worker.is_running():
            return "running"
        # A worker may have recorded its end between the look at the journal and the one at its lock.
        ended = ended or read_run_end(self.journal_path, since=since)
        if ended is not None and ended.cause == "undelivered" and self.worker.is_delivering():
            return "running"
        return ended.status if ended is not None else "failed"

    def is_running(self) -> bool:
        """Tell whether a worker executes the run: not one that has recorded its end, nor one that only delivers."""
        # The end is read first, so that an ended run is read without a lock, also in a folder that cannot be written.
        # It is the last record of the worker that executes the run, so that of a running run is not looked for in all.
        has_ended = self.has_started() and read_run_end(self.journal_path, MAX_END_BYTES) is not None
        return not has_ended and self.worker.is_running()

    def undelivered(self, state: RunState) -> int:
        """Count the scores and spans that Langfuse has not acknowledged, refused ones left out."""
        return state.unstored_count() + count_waiting_spans(self.outbox_path)

    def has_undelivered(self) -> bool:
        """Tell whether anything waits to be sent; reads the whole journal only of a run whose end does not tell."""
        if waiting_files(self.outbox_path):
            return True
        ended = read_run_end(self.journal_path)
        is_delivered = ended is not None and (ended.delivered or ended.status == "completed")
        return not is_delivered and self.read_state().unstored_count() > 0

    def request_cancel(self) -> None:
        """Ask the worker to stop; it looks for this mark."""
        with writing(self.path):
            self.cancel_path.touch()

    def cancel_requested(self) -> bool:
        """Tell whether the worker was asked to stop."""
        return self.cancel_path.exists()

    def mark_executed(self) -> None:
        """Tell others that the newest worker runs no further item; it may have much to deliver."""
        with writing(self.path):
            self._executed_path.touch()

    def has_executed(self) -> bool:
        """Tell whether the newest worker runs no further item."""
        return self._executed_path.exists()

    def has_log(self) -> bool:
        """Tell whether the user's code has printed anything."""
        return self.log_path.exists() and self.log_path.stat().st_size > 0

    def delete(self) -> None:
        """Delete the folder, as far as the system lets us."""
        for pause in DELETE_PAUSES_S:
            time.sleep(pause)
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                return
