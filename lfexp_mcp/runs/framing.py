"""Records with their length and checksum, so that torn or changed ones are noticed.

A record is `<bytes of the content> <CRC-32 of the content, 8 hex digits> <content>` and a line feed. Reading goes on
at the next whole record after a damaged one.
"""

import re
from binascii import crc32
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from os import ftruncate
from pathlib import Path
from typing import IO

_HEADER = re.compile(rb"(\d{1,10}) ([0-9a-f]{8}) ")
BLOCK_BYTES = 65_536
TAIL_BYTES = 65_536
"""Read from a file's end at first, to find its last line feed."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The whole records of a stretch of a file."""

    contents: list[bytes]
    lost_bytes: int
    """Bytes outside whole records."""


class Blocks:
    """The last blocks that were read of a file of lines.

    Lines that lie near one another are read much faster by blocks than one by one, in whatever order. There are two, so
    that lines at two places can be read in turn.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[int, bytes], ...] = ()
        """With where they begin, the one that was used last first."""

    def line(self, offset: int) -> bytes | None:
        """Return the line that begins at an offset in the file, without its line feed; None if it is not here."""
        begin = offset % BLOCK_BYTES
        kept = self._kept
        for place, (start, content) in enumerate(kept):
            if start == offset - begin and (line := _line_at(content, begin)) is not None:
                if place:
                    self._kept = kept[::-1]
                return line
        return None

    def read(self, file: IO[bytes], offset: int) -> bytes:
        """Read the block in which a line begins, and return that line; it is empty if the file ends before."""
        start = offset - offset % BLOCK_BYTES
        file.seek(start)
        content = file.read(BLOCK_BYTES)
        if not content.endswith(b"\n"):
            content += file.readline()
        self._kept = (start, content), *self._kept[:1]
        return _line_at(content, offset - start) or b""


def _line_at(content: bytes, begin: int) -> bytes | None:
    end = content.find(b"\n", begin)
    return content[begin:end] if end >= 0 else None


def frame(content: bytes) -> bytes:
    """Return a content as a record."""
    return b"%d %08x %b\n" % (len(content), crc32(content), content)


def unframe(line: bytes) -> bytes | None:
    """Return the content of a record given without its line feed; None if it is not whole."""
    size, _, rest = line.partition(b" ")
    digest, _, content = rest.partition(b" ")
    return content if size == b"%d" % len(content) and digest == b"%08x" % crc32(content) else None


def read_frames(stored: bytes) -> Frames:
    """Return the contents of all whole records, damaged stretches left out."""
    contents: list[bytes] = []
    lost = position = 0
    while position < len(stored):
        match = _HEADER.match(stored, position)
        end = match.end() + int(match[1]) if match else 0
        content = unframe(stored[position:end]) if end and stored[end : end + 1] == b"\n" else None
        if content is not None:
            contents.append(content)
            position = end + 1
            continue
        following = _HEADER.search(stored, position + 1)
        skipped = following.start() if following else len(stored)
        lost += skipped - position
        position = skipped
    return Frames(contents, lost)


class AppendedFile:
    """An append-only file of whole records. Not thread-safe.

    A write that fails half-way is cut back to its last whole record.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file, and cut off what a killed process left after the last line feed.

        Raises:
            OSError: It cannot be opened.
        """
        self._file = FileIO(path, "ab+")
        try:
            self._size = self._whole_size()
            if self._size < self._file.seek(0, 2):
                ftruncate(self._file.fileno(), self._size)
        except OSError:
            self._file.close()
            raise
        self._is_torn = False

    @property
    def size_bytes(self) -> int:
        """Bytes of all records."""
        return self._size

    def append(self, *records: bytes) -> None:
        """Write records, so that they outlive this process.

        Raises:
            OSError: The disk is full or the file cannot be written; records that were written whole stay.
        """
        if self._is_torn:
            self._cut_back()
        data = memoryview(b"".join(records))
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError:
            self._is_torn = True
            for record in records:
                if written < len(record):
                    break
                written -= len(record)
                self._size += len(record)
            with suppress(OSError):
                self._cut_back()
            raise
        self._size += written

    def fileno(self) -> int:
        """The file's descriptor, to sync it."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _cut_back(self) -> None:
        ftruncate(self._file.fileno(), self._size)
        self._is_torn = False

    def _whole_size(self) -> int:
        """Return the size up to the last line feed, looking from the end."""
        end = self._file.seek(0, 2)
        size = TAIL_BYTES
        while True:
            start = max(end - size, 0)
            self._file.seek(start)
            found = self._file.readall().rfind(b"\n")
            if found >= 0 or start == 0:
                return start + found + 1
            size *= 8
