"""Spans that Langfuse has not acknowledged yet, on disk.

Each batch is an OTLP `ExportTraceServiceRequest`. Its only field is repeated, so that encoded batches written one after
the other are again one valid request (https://protobuf.dev/programming-guides/encoding/#last-one-wins: repeated fields
are concatenated): a file of the outbox is appended to, and later sent as it is.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from threading import Lock

from lfexp_mcp.errors import StateError

SUFFIX = ".otlp"
RESOURCE_SPANS_TAG = 0x0A
"""Field 1, length-delimited: `ExportTraceServiceRequest.resource_spans`."""


class Outbox:
    """Batches of one run; safe to use from several threads.

    New batches go to the newest file until `seal` closes it. Sealed files are sent, and removed when acknowledged. All
    methods that touch the disk raise a StateError where it cannot be written or read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._file: FileIO | None = None
        self._dirty = False
        self._opened = 0.0
        self._size = 0
        with self._using():
            folder.mkdir(parents=True, exist_ok=True)
            for path in waiting_files(folder):
                _cut_torn_batch(path)
        self._sealed = waiting_files(folder)
        self._number = max((int(path.stem) for path in self._sealed), default=0)

    def append(self, batch: bytes) -> None:
        """Keep one encoded batch so that it outlives this process."""
        with self._lock, self._using():
            file = self._file or self._open()
            data = memoryview(batch)
            while data:
                data = data[file.write(data) :]
            self._size += len(batch)
            self._dirty = True

    def sync(self) -> None:
        """Wait until all batches so far are on the disk."""
        with self._lock:
            # A handle of its own, so that the disk's slowness holds up neither `append` nor `seal`.
            handle = os.dup(self._file.fileno()) if self._file is not None and self._dirty else None
            self._dirty = False
        if handle is not None:
            try:
                with self._using():
                    os.fsync(handle)
            finally:
                os.close(handle)

    def ripe(self, size: int, seconds: float) -> bool:
        """Tell whether the newest file holds that many bytes, or was opened that long ago."""
        with self._lock:
            if self._file is None:
                return False
            return self._size >= size or time.monotonic() - self._opened >= seconds

    def seal(self) -> None:
        """Close the newest file, so that it can be sent."""
        with self._lock:
            if self._file is None:
                return
            self._file.close()
            self._file = None
            self._sealed.append(self._path(self._number))

    def take(self) -> Path | None:
        """Take one sealed file to send it; `remove` it when it is acknowledged."""
        with self._lock:
            return self._sealed.pop(0) if self._sealed else None

    def read(self, path: Path) -> bytes:
        """Read a file that was taken."""
        with self._using():
            return path.read_bytes()

    def remove(self, path: Path) -> None:
        """Forget an acknowledged file."""
        with self._using():
            path.unlink(missing_ok=True)

    def refuse(self, name: str, batch: bytes) -> Path:
        """Keep a span that Langfuse refused, out of the way of the others."""
        path = self._folder / "refused" / f"{name}{SUFFIX}"
        with self._using():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(batch)
        return path

    def is_empty(self) -> bool:
        """Tell whether nothing waits; a file taken out to be sent does not count."""
        with self._lock:
            return self._file is None and not self._sealed

    def _open(self) -> FileIO:
        self._number += 1
        self._file = FileIO(self._path(self._number), "ab")
        self._opened = time.monotonic()
        self._size = 0
        return self._file

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"The run's outbox {self._folder} cannot be used ({error.strerror or error}). What is done stays; make "
                "room or set LFEXP_HOME to another folder, then call again with resume=true."
            ) from error

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}{SUFFIX}"


def waiting_files(folder: Path) -> list[Path]:
    """List the files of an outbox that wait to be sent, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def count_waiting_spans(folder: Path) -> int:
    """Count the spans in an outbox that nobody works on."""
    from lfexp_mcp.runs.otlp import count_spans

    contents = (path.read_bytes() for path in waiting_files(folder))
    return sum(count_spans(content[: complete_length(content)]) for content in contents)


def complete_length(content: bytes) -> int:
    """Return how many bytes at the start are whole records; a process killed while it writes leaves half a one."""
    position = 0
    while position < len(content) and content[position] == RESOURCE_SPANS_TAG:
        length, start = _read_varint(content, position + 1)
        if length is None or start + length > len(content):
            break
        position = start + length
    return position


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


def _cut_torn_batch(path: Path) -> None:
    content = path.read_bytes()
    length = complete_length(content)
    if length == 0:
        path.unlink()
    elif length < len(content):
        os.truncate(path, length)
