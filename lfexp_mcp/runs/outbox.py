"""Spans that Langfuse has not acknowledged yet, on disk.

A file of the outbox holds batches as framed records (`framing`). Each batch is an OTLP `ExportTraceServiceRequest`,
whose only field is repeated, so that batches written one after the other are again one valid request
(https://protobuf.dev/programming-guides/encoding/#last-one-wins: repeated fields are concatenated): a file's batches
are sent together. Files of version 0.1 (`.otlp`) hold the batches without frames. A process that the user's code
forked writes files of its own, since its parent may send and remove the file that both have open.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.disk import make_folder_durably, sync_folder, write_durably
from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.framing import AppendedFile, Frames, frame, read_frames

SUFFIX = ".spans"
UNFRAMED_SUFFIX = ".otlp"
FORK_PREFIX = "fork-"
RESOURCE_SPANS_TAG = 0x0A
"""Field 1, length-delimited: `ExportTraceServiceRequest.resource_spans`."""


class Outbox:
    """The batches of one run. Thread-safe.

    New batches go to the newest file until `seal` closes it. Sealed files are sent, and removed when acknowledged.
    Methods that touch the disk raise a StateError if it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._file: AppendedFile | None = None
        self._unsynced: set[Path] = set()
        self._opened = 0.0
        self._forks: set[Path] = set()
        """Files of forked processes that were taken and not yet removed."""
        self._is_fork = False
        with self._using():
            make_folder_durably(folder)
            self._sealed = _numbered_files(folder)
        self._number = max((int(path.stem) for path in self._sealed), default=0)

    def start_fork(self) -> None:
        """Write to files of its own from now on; call it in a forked process, which only appends."""
        self._lock, self._is_fork, self._number = Lock(), True, 0

    def append(self, batch: bytes) -> None:
        """Write an encoded batch, so that it outlives this process."""
        with self._lock, self._using():
            if self._is_fork:
                self._number += 1
                # The process may end at once, without a `sync`.
                write_durably(self._folder / f"{FORK_PREFIX}{os.getpid()}-{self._number}{SUFFIX}", [frame(batch)])
                return
            file = self._file or self._open()
            file.append(frame(batch))
            self._unsynced.add(self._path(self._number))

    def sync(self) -> None:
        """Wait until all batches so far are on the disk."""
        with self._lock:
            unsynced, self._unsynced = self._unsynced, set()
        # With handles of its own, a slow disk holds up neither `append` nor `seal`.
        with self._using():
            for path in unsynced:
                _sync_file(path)
            if unsynced and self._folder.exists():
                sync_folder(self._folder)

    def ripe(self, size: int, seconds: float) -> bool:
        """Tell whether the newest file holds that many bytes, or was opened that long ago."""
        with self._lock:
            if self._file is None:
                return False
            return self._file.size_bytes >= size or CLOCK.monotonic() - self._opened >= seconds

    def seal(self) -> None:
        """Close the newest file, so that it can be sent."""
        with self._lock:
            if self._file is None:
                return
            self._file.close()
            self._file = None
            self._sealed.append(self._path(self._number))

    def take(self) -> Path | None:
        """Take a sealed file to send; `remove` it when Langfuse has acknowledged it."""
        with self._lock, self._using():
            if not self._sealed:
                self._sealed = self._written_by_forks()
                self._forks.update(self._sealed)
            return self._sealed.pop(0) if self._sealed else None

    def read(self, path: Path) -> Frames:
        """Read the batches of a taken file."""
        with self._using(), suppress(FileNotFoundError):
            return read_batches(path)
        # The file was deleted: what it held is found missing when the run's results are counted.
        return Frames([], 0)

    def remove(self, path: Path) -> None:
        """Delete an acknowledged file."""
        with self._using():
            path.unlink(missing_ok=True)
        with self._lock:
            self._forks.discard(path)

    def refuse(self, name: str, batch: bytes) -> Path:
        """Put a span that Langfuse refused aside."""
        path = self._folder / "refused" / f"{name}{UNFRAMED_SUFFIX}"
        with self._using():
            make_folder_durably(path.parent)
            write_durably(path, [batch])
        return path

    def retry_refused(self) -> None:
        """Queue the refused spans once more."""
        with self._using():
            for path in sorted((self._folder / "refused").glob(f"*{UNFRAMED_SUFFIX}")):
                self.append(path.read_bytes())
                path.unlink()
        self.seal()

    def is_empty(self) -> bool:
        """Tell whether nothing waits to be taken."""
        with self._lock, self._using():
            return self._file is None and not self._sealed and not self._written_by_forks()

    def _written_by_forks(self) -> list[Path]:
        return [path for path in _files_of_forks(self._folder) if path not in self._forks]

    def _open(self) -> AppendedFile:
        self._number += 1
        make_folder_durably(self._folder)
        self._file = AppendedFile(self._path(self._number))
        self._opened = CLOCK.monotonic()
        return self._file

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"The run's outbox {self._folder} cannot be used ({error.strerror or error}). What is done stays; make "
                "room or set LFEXP_HOME to another folder, then resume the run."
            ) from error

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}{SUFFIX}"


def _sync_file(path: Path) -> None:
    """Wait until a file is on the disk; it may have been sent and removed meanwhile."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def waiting_files(folder: Path) -> list[Path]:
    """List the files of an outbox that wait to be sent, oldest first."""
    return _numbered_files(folder) + _files_of_forks(folder)


def _numbered_files(folder: Path) -> list[Path]:
    return sorted(path for suffix in (SUFFIX, UNFRAMED_SUFFIX) for path in folder.glob(f"[0-9]*{suffix}"))


def _files_of_forks(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{FORK_PREFIX}*{SUFFIX}"))


def read_batches(path: Path) -> Frames:
    """Read the whole batches of a file.

    Raises:
        OSError: The file cannot be read.
    """
    stored = path.read_bytes()
    return read_frames(stored) if path.suffix == SUFFIX else _read_unframed(stored)


def count_waiting_spans(folder: Path) -> int:
    """Count the spans in an outbox that no process works on.

    Raises:
        StateError: The outbox cannot be read.
    """
    try:
        return sum(count_spans(batch) for path in waiting_files(folder) for batch in read_batches(path).contents)
    except OSError as error:
        raise StateError(f"The run's outbox {folder} cannot be read ({error.strerror or error}).") from error


def _read_unframed(stored: bytes) -> Frames:
    """Read the batches of an unframed file that are whole."""
    from lfexp_mcp.runs.span_batches import is_batch

    whole: list[bytes] = []
    position = 0
    while position < len(stored) and stored[position] == RESOURCE_SPANS_TAG:
        length, start = _read_varint(stored, position + 1)
        if length is None or start + length > len(stored):
            break
        batch = stored[position : start + length]
        if is_batch(batch):
            whole.append(batch)
        position = start + length
    return Frames(whole, len(stored) - sum(map(len, whole)))


def count_spans(batch: bytes) -> int:
    """Count the spans of an encoded `ExportTraceServiceRequest`, without decoding them: a run may have left many.

    The encoding is that of protocol buffers (https://protobuf.dev/programming-guides/encoding), the numbers of the
    fields those of OTLP's `trace.proto`.
    """
    return sum(
        1
        for resource_spans in _messages(batch, (0, len(batch)), 1)
        for scope_spans in _messages(batch, resource_spans, 2)
        for _ in _messages(batch, scope_spans, 2)
    )


def _messages(content: bytes, within: tuple[int, int], field: int) -> Iterator[tuple[int, int]]:
    """Yield where the messages lie that a message has in a field."""
    position, end = within
    while position < end:
        tag, position = _read_varint(content, position)
        if tag is None:
            return
        size: int | None = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 in (0, 2):
            size, position = _read_varint(content, position)
        if tag & 7 == 0 or size is None:
            continue
        if tag == field << 3 | 2:
            yield position, position + size
        position += size


def _read_varint(content: bytes, position: int) -> tuple[int | None, int]:
    value = shift = 0
    while position < len(content):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position
    return None, position
