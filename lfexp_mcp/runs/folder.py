"""The folders of the runs on this machine."""

import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from lfexp_mcp.disk import make_folder_durably, move_durably, write_durably
from lfexp_mcp.errors import RunExistsError, StateError
from lfexp_mcp.model import DatasetItem, RunRecord, RunSpec, RunStatus
from lfexp_mcp.runs.events import RunEnded
from lfexp_mcp.runs.journal import JournalReader, JournalWriter, read_run_end
from lfexp_mcp.runs.outbox import count_waiting_spans, waiting_files
from lfexp_mcp.runs.replay import RunState, build_record
from lfexp_mcp.runs.run_spec import decode_run_spec, encode_items, encode_run_spec, read_items

HUNG_AFTER = 10.0
"""Seconds without a sign of life; a worker gives one several times a second whatever the user's code does."""
HOLD_PATIENCE = 5.0
"""Seconds that a worker tries to get the lock, since who looks whether one is alive holds it for a moment."""
KILLED = "The run did not react to the cancel, so its process was killed; what is done is kept."
DRY_PREFIX = "dry-"
DRY_LIFETIME = 3600.0
"""Seconds after which what a dry run left behind, since its caller died, is deleted."""
WORKER_ROOM = 2500
"""Bytes of the note on a run's worker."""
LAST_WORDS = 900
DELETE_PAUSES_S = (0.0, 0.05, 0.2, 0.5)
"""Who notes just now how the folder's worker died may put a file back, and then it is deleted again."""


class _Worker(BaseModel):
    pid: int | None = None
    delivers: bool = False
    """Whether it only sends what the run has left."""
    last_words: str | None = None
    exit_code: int | None = None


class RunFolder:
    """What is on disk of one run.

    A worker holds `worker.lock` for all its life, which tells the living from the dead without any process id.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_spec_path = path / "manifest.json"
        self.items_path = path / "items.jsonl"
        self.journal_path = path / "journal.jsonl"
        self.outbox_path = path / "outbox"
        self.log_path = path / "run.log"
        self.cancel_path = path / "cancel"
        self._worker_path = path / "worker.json"
        self._next_path = path / "manifest.next.json"

    def has_started(self) -> bool:
        """Tell whether a worker has ever begun here.

        Raises:
            StateError: The folder cannot be read.
        """
        with self._reading():
            return self.journal_path.exists() and self.journal_path.stat().st_size > 0

    def write_run_spec(self, run_spec: RunSpec, items: Iterable[DatasetItem] | None) -> None:
        """Write what the run shall do.

        Args:
            run_spec: The order; it replaces an older one.
            items: None leaves the items as they are, and the older order until a worker takes the new one over.
        """
        with _writing(self.path):
            make_folder_durably(self.path)
            if items is not None:
                self._next_path.unlink(missing_ok=True)
                write_durably(self.items_path, encode_items(items))
            write_durably(self.run_spec_path if items is not None else self._next_path, [encode_run_spec(run_spec)])
            self.cancel_path.unlink(missing_ok=True)

    def next_run_spec(self) -> RunSpec:
        """Read the order that a worker is to take over.

        Raises:
            StateError: It is missing, broken, or from another version.
        """
        return self._read_run_spec(self._next_path if self._next_path.exists() else self.run_spec_path)

    def adopt_next(self) -> None:
        """Let the order that was taken over be the run's.

        Raises:
            StateError: The folder cannot be written.
        """
        if self._next_path.exists():
            with _writing(self.path):
                move_durably(self._next_path, self.run_spec_path)

    def run_spec(self) -> RunSpec:
        """Read the order.

        Raises:
            StateError: It is missing, broken, or from another version.
        """
        return self._read_run_spec(self.run_spec_path)

    def _read_run_spec(self, path: Path) -> RunSpec:
        with self._reading():
            return decode_run_spec(path.read_bytes())

    def items(self) -> Iterator[DatasetItem]:
        """Read the items in their order.

        Raises:
            StateError: They are missing or damaged.
        """
        with self._reading():
            yield from read_items(self.items_path)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            raise StateError(
                f"The run folder {self.path} cannot be used ({reason}). Nothing in it is lost by that, and results "
                "that were sent are in Langfuse. To run the dataset here, use another run name."
            ) from error

    def open_journal(self) -> JournalWriter:
        """Open the journal to append to it; only the one process that holds the lock does."""
        return JournalWriter(self.journal_path)

    def read_state(self) -> RunState:
        """Read the whole journal."""
        state = RunState()
        state.apply(JournalReader(self.journal_path).read())
        return state

    def record_of(self, state: RunState, items: Iterable[DatasetItem] | None = None) -> RunRecord:
        """Return the run as it stands, whose journal has been read, and perhaps its items."""
        items = self.items() if items is None else items
        return build_record(self.run_spec(), items, state, self.status_of(state), self.last_words())

    def status(self) -> RunStatus:
        """Tell how the run stands, by the end of its journal."""
        return self._status_by(read_run_end(self.journal_path))

    def status_of(self, state: RunState) -> RunStatus:
        """Tell how a run stands whose journal has been read."""
        return self._status_by(state.run_ended)

    def _status_by(self, ended: RunEnded | None) -> RunStatus:
        """The one rule: what a worker told of its end, unless what it left is being sent just now."""
        if ended is None and self._is_carried_out():
            return "running"
        # A worker may have told its end between the look at the journal and the one at its lock.
        ended = ended or read_run_end(self.journal_path)
        if ended is not None and ended.cause == "undelivered" and self._is_delivered():
            return "running"
        return ended.status if ended is not None else "failed"

    def undelivered(self, state: RunState | None = None) -> int:
        """Count the scores and spans that Langfuse has not acknowledged, refused ones left out."""
        state = state or self.read_state()
        return sum(1 for _ in state.unstored_scores()) + count_waiting_spans(self.outbox_path)

    def has_undelivered(self) -> bool:
        """Tell whether anything waits to be sent; quick for a run that ended well."""
        if waiting_files(self.outbox_path):
            return True
        ended = read_run_end(self.journal_path)
        if ended is not None and ended.status == "completed":
            return False
        return any(True for _ in self.read_state().unstored_scores())

    def request_cancel(self) -> None:
        """Ask the worker to stop; it looks for this mark."""
        with _writing(self.path):
            self.cancel_path.touch()

    def cancel_requested(self) -> bool:
        """Tell whether somebody asked the worker to stop."""
        return self.cancel_path.exists()

    def is_at_work(self) -> bool:
        """Tell whether a worker carries the run out: not one that has told its end, nor one that only delivers."""
        # The end is read first: what has ended is read without a lock, also in a folder that nobody can write.
        has_ended = self.has_started() and read_run_end(self.journal_path) is not None
        return not has_ended and self._is_carried_out()

    def _is_carried_out(self) -> bool:
        return self.is_held() and not self._read_worker().delivers

    def _is_delivered(self) -> bool:
        """Tell whether a process sends what the run has left."""
        return self._read_worker().delivers and self.is_held()

    def is_held(self) -> bool:
        """Tell whether any process has the run in its hands."""
        lock = self._lock("worker.lock")
        # Acquiring would make the file, and the folder, anew.
        if not Path(lock.lock_file).exists():
            return False
        with _writing(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
        lock.release()
        return False

    @contextmanager
    def held(self, patience: float = HOLD_PATIENCE, *, delivers: bool = False) -> Iterator[None]:
        """Be the run's worker.

        Args:
            patience: Seconds to try.
            delivers: Only send what the run has left; what the worker before said last stays.

        Raises:
            RunExistsError: Another process is.
            StateError: The folder cannot be written.
        """
        lock = self._lock("worker.lock")
        with _writing(self.path):
            try:
                lock.acquire(timeout=patience)
            except Timeout as error:
                raise RunExistsError(f"Another process is at work on this run ({self.path}).") from error
        try:
            with _writing(self.path):
                before = self._read_worker() if delivers else _Worker()
                self._note_worker(before.model_copy(update={"pid": os.getpid(), "delivers": delivers}))
            yield
        finally:
            lock.release()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Keep others from starting the same run while this process prepares it.

        Raises:
            RunExistsError: Another process is preparing it.
        """
        with _writing(self.path):
            make_folder_durably(self.path)
            lock = self._lock("starting.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise RunExistsError(
                    "This run is being started by another call just now; wait for that one, or use another run name."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def delete(self) -> None:
        """Delete the folder, as far as the system lets us."""
        for pause in DELETE_PAUSES_S:
            time.sleep(pause)
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                return

    def has_log(self) -> bool:
        """Tell whether the user's code has printed anything."""
        return self.log_path.exists() and self.log_path.stat().st_size > 0

    def beat(self) -> None:
        """Give a sign of life.

        Raises:
            StateError: The folder cannot be written.
        """
        with _writing(self.path):
            os.utime(self._worker_path)

    def is_hung(self) -> bool:
        """Tell whether the worker lives without giving signs of life."""
        return self.is_at_work() and time.time() - self._worker_path.stat().st_mtime > HUNG_AFTER

    def note_killed(self) -> None:
        """Journal that the worker was killed on request; call it when it is dead.

        Raises:
            RunExistsError: It is not dead.
        """
        with self.held():
            journal = self.open_journal()
            journal.append(RunEnded(status="cancelled", reason=KILLED))
            journal.close()

    def worker_pid(self) -> int | None:
        """Process id of the newest worker; meaningful only while it is alive."""
        return self._read_worker().pid

    def last_words(self) -> str | None:
        """Return why the newest worker gave up, where it could not journal it."""
        return self._read_worker().last_words

    def worker_exit_code(self) -> int | None:
        """Return how the newest worker's process died: its exit code, or minus the number of the signal."""
        return self._read_worker().exit_code

    def leave_last_words(self, words: str, pid: int | None = None, exit_code: int | None = None) -> None:
        """Note why a worker gives up; this needs no more room than the file has, so that a full disk takes it.

        Args:
            words: The reason.
            pid: The worker's process id, None for this process.
            exit_code: How its process died, where it did.
        """
        words = words.encode()[:LAST_WORDS].decode(errors="ignore")
        self._note_worker(_Worker(pid=pid or os.getpid(), last_words=words, exit_code=exit_code))

    def _note_worker(self, worker: "_Worker") -> None:
        note = worker.model_dump_json().encode().ljust(WORKER_ROOM)[:WORKER_ROOM]
        with self._worker_path.open("r+b" if self._worker_path.exists() else "wb") as file:
            file.write(note)

    def _read_worker(self) -> "_Worker":
        try:
            return _Worker.model_validate_json(self._worker_path.read_bytes())
        except (OSError, ValidationError):
            return _Worker()

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.path / name, thread_local=False)


class RunsFolder:
    """All runs on this machine, each under its experiment id, which tells project, dataset and run name apart."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, experiment_id: str) -> RunFolder:
        """Return the folder for a run, whether it exists or not."""
        return RunFolder(self.root / experiment_id)

    def dry_folder(self) -> RunFolder:
        """Return a new folder for a dry run, which is no run: it is neither found nor listed, nor is it delivered."""
        return RunFolder(self.root / f"{DRY_PREFIX}{uuid.uuid4().hex}")

    def find(self, experiment_id: str) -> RunFolder | None:
        """Return the folder of a run that was started on this machine, None for others."""
        folder = self.folder(experiment_id)
        return folder if folder.has_started() else None

    def orders(self) -> Iterator[tuple[RunFolder, RunSpec]]:
        """Yield all runs that were started with their orders; one that cannot be read is left to whoever asks for it.

        Raises:
            StateError: The runs' folder cannot be read.
        """
        for folder in self._folders():
            if not folder.path.name.startswith(DRY_PREFIX):
                with suppress(StateError):
                    yield folder, folder.run_spec()

    def _folders(self) -> Iterator[RunFolder]:
        try:
            paths = sorted(self.root.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateError(f"The runs' folder {self.root} cannot be read ({error.strerror}).") from error
        for path in paths:
            folder = RunFolder(path)
            with suppress(StateError):
                if folder.has_started():
                    yield folder

    def prepare(self) -> None:
        """Create the folder, private to the user.

        Raises:
            StateError: It cannot be created.
        """
        try:
            make_folder_durably(self.root)
        except OSError as error:
            raise StateError(
                f"The runs' folder {self.root} cannot be created ({error.strerror or error}). "
                "Make its parent writable, or set LFEXP_HOME to another folder."
            ) from error

    def prune(self, keep: int) -> None:
        """Delete the oldest runs, so that about `keep` remain; never one at work, or with data not yet delivered."""
        folders = sorted(self._folders(), key=_last_change, reverse=True)
        old = time.time() - DRY_LIFETIME
        dry = [folder for folder in folders if folder.path.name.startswith(DRY_PREFIX)]
        runs = [folder for folder in folders if not folder.path.name.startswith(DRY_PREFIX)]
        for folder in [*runs[keep:], *(folder for folder in dry if _last_change(folder) < old)]:
            if folder in dry or not _is_needed(folder):
                folder.delete()


def _last_change(folder: RunFolder) -> float:
    try:
        return folder.journal_path.stat().st_mtime
    except FileNotFoundError:
        # Another process has just pruned it.
        return 0.0


def _is_needed(folder: RunFolder) -> bool:
    """Tell whether a run is at work or has something to deliver; one that cannot be read is left to its user."""
    try:
        return folder.is_held() or folder.has_undelivered()
    except (StateError, FileNotFoundError):
        return True


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"The run folder {path} cannot be written ({error.strerror or error}). "
            "Make room or make it writable, or set LFEXP_HOME to another folder."
        ) from error
