"""The lock of a run folder, which one process holds for all its life, and what that process leaves about itself."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from lfexp_mcp.disk import make_folder_durably
from lfexp_mcp.errors import RunExistsError, StateError

LOCK_TIMEOUT_S = 5.0
STARTING_TIMEOUT_S = 0.2
"""How long a look of another process at the lock of a start may last."""
"""How long a worker tries to lock the folder: a process that looks whether it is locked holds it for a moment."""
NOTE_BYTES = 2500
MAX_EXIT_REASON_BYTES = 900


class _WorkerNote(BaseModel):
    pid: int | None = None
    delivers: bool = False
    """Whether it only sends what the run has left."""
    last_words: str | None = None
    """The exit reason."""
    exit_code: int | None = None


class WorkerLock:
    """The lock of a run folder, and the newest worker of the run.

    A lock tells a live worker from a dead one without any process id.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._note_path = folder / "worker.json"

    def is_locked(self) -> bool:
        """Tell whether any process works in the folder.

        Raises:
            StateError: The folder cannot be written.
        """
        return self._is_held("worker.lock")

    def is_being_started(self) -> bool:
        """Tell whether a process prepares the run or hands it over to a worker; see `preparing`.

        Raises:
            StateError: The folder cannot be written.
        """
        return self._is_held("starting.lock")

    def _is_held(self, name: str) -> bool:
        lock = self._lock(name)
        # Acquiring would create the file and the folder again.
        if not Path(lock.lock_file).exists():
            return False
        with writing(self._folder):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
        lock.release()
        return False

    def is_running(self) -> bool:
        """Tell whether a process that holds the lock executes the run."""
        return self.is_locked() and not self._read_note().delivers

    def is_delivering(self) -> bool:
        """Tell whether a process that holds the lock only sends what the run has left."""
        return self._read_note().delivers and self.is_locked()

    @contextmanager
    def locked(self, timeout_s: float = LOCK_TIMEOUT_S, *, delivers: bool = False) -> Iterator[None]:
        """Hold the lock as the run's worker.

        Args:
            timeout_s: How long to try.
            delivers: Only send what the run has left; the exit reason of the worker before stays.

        Raises:
            RunExistsError: Another process holds it.
            StateError: The folder cannot be written.
        """
        lock = self._lock("worker.lock")
        with writing(self._folder):
            try:
                lock.acquire(timeout=timeout_s)
            except Timeout as error:
                raise RunExistsError(f"Another process works on this run ({self._folder}).") from error
        try:
            with writing(self._folder):
                before = self._read_note() if delivers else _WorkerNote()
                self._write_note(before.model_copy(update={"pid": os.getpid(), "delivers": delivers}))
            yield
        finally:
            lock.release()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep others from starting the same run while this process prepares it.

        Raises:
            RunExistsError: Another process is preparing it.
        """
        with writing(self._folder):
            make_folder_durably(self._folder)
            lock = self._lock("starting.lock")
            try:
                lock.acquire(timeout=STARTING_TIMEOUT_S)
            except Timeout as error:
                raise RunExistsError(
                    "Another call is starting this run; wait for that one, or use another run name."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def heartbeat(self) -> None:
        """Touch the note, to show that the worker is alive, and so that it notices when its folder is gone.

        Raises:
            StateError: The folder cannot be written.
        """
        with writing(self._folder):
            os.utime(self._note_path)

    def silent_s(self) -> float:
        """Return how many seconds ago the newest worker has last shown that it is alive."""
        try:
            return time.time() - self._note_path.stat().st_mtime
        except OSError:
            return 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the newest worker; meaningful only while it is alive."""
        return self._read_note().pid

    @property
    def exit_reason(self) -> str | None:
        """Why the newest worker gave up, where it could not journal it."""
        return self._read_note().last_words

    @property
    def exit_code(self) -> int | None:
        """How the newest worker's process died: its exit code, or minus the number of the signal."""
        return self._read_note().exit_code

    def record_exit(self, reason: str, pid: int | None = None, exit_code: int | None = None) -> None:
        """Record why a worker gives up; this needs no more room than the file has, so that a full disk takes it.

        Args:
            reason: A sentence for the user.
            pid: The worker's process id, None for this process.
            exit_code: How its process died, where it did.
        """
        reason = reason.encode()[:MAX_EXIT_REASON_BYTES].decode(errors="ignore")
        self._write_note(_WorkerNote(pid=pid or os.getpid(), last_words=reason, exit_code=exit_code))

    def _write_note(self, note: _WorkerNote) -> None:
        content = note.model_dump_json().encode().ljust(NOTE_BYTES)[:NOTE_BYTES]
        with self._note_path.open("r+b" if self._note_path.exists() else "wb") as file:
            file.write(content)

    def _read_note(self) -> _WorkerNote:
        try:
            return _WorkerNote.model_validate_json(self._note_path.read_bytes())
        except (OSError, ValidationError):
            return _WorkerNote()

    def _lock(self, name: str) -> FileLock:
        return FileLock(self._folder / name, thread_local=False)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise what keeps a run folder from being written as a StateError."""
    try:
        yield
    except OSError as error:
        raise StateError(
            f"The run folder {folder} cannot be written ({error.strerror or error}). "
            "Make room or make it writable, or set LFEXP_HOME to another folder."
        ) from error
