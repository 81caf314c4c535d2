"""The journal of a run: an append-only file with a line per event.

A line is JSON behind its length and checksum (`framing`); journals of version 0.1 have the JSON alone. An event is with
the operating system when `append` returns, so it outlives the process, and on the disk after `sync`, so it outlives a
power cut. A process killed while it writes leaves half a line at the end, which the reader ignores and the next writer
cuts off. A damaged line anywhere else is left out and reported.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import IO, Literal, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from lfexp_mcp import __version__
from lfexp_mcp.disk import sync_folder
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import OTHERS, Score, ScriptMaker, recorded_maker
from lfexp_mcp.runs.events import (
    Damaged,
    Event,
    ItemEnded,
    ItemScored,
    RunEnded,
    RunScored,
    WorkerAccepted,
    WorkerLoading,
)
from lfexp_mcp.runs.framing import AppendedFile, Blocks, frame, read_frames, unframe

E = TypeVar("E", ItemEnded, ItemScored)

FORMAT = 2
"""Format 1 had no checksums."""


class JournalOpened(BaseModel):
    """A writer's first line: the format and version of the lines after it."""

    event: Literal["opened"] = "opened"
    format: int = FORMAT
    version: str = __version__


_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_VALIDATE: Callable[[bytes], Event] = _EVENT.validator.validate_json
"""Without the adapter's own method around it: a journal has hundreds of thousands of lines."""
_ADAPTERS: dict[type[Event], TypeAdapter[Event]] = {}
"""By the kind of event; one of them encodes an event in half the time that the union's takes."""
_LATER_EVENT = re.compile(rb'\{"at":"')
"""The start of a line of version 0.1 that follows half a line."""
TAIL_BYTES = 16_384
"""Read at first from a journal's end, to find how its run ended."""
MAX_PIECE_BYTES = 1_000_000
"""Read at once of a journal that is read from its end."""
HEAD_BYTES = 512
"""Enough for the first events of a journal, which have their times."""


class JournalWriter:
    """Appends events. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._is_dirty = False
        self._has_begun = False
        try:
            is_new = not path.exists()
            self._file = AppendedFile(path)
            if is_new:
                sync_folder(path.parent)
        except OSError as error:
            raise self._failure(error) from error

    def append(self, *events: Event) -> None:
        """Write events, so that they outlive this process.

        Raises:
            StateError: The disk is full or the file cannot be written.
        """
        lines = [frame(_encode(event)) for event in events]
        with self._lock:
            if not self._has_begun:
                lines.insert(0, frame(JournalOpened().model_dump_json().encode()))
            self._is_dirty = True
            try:
                self._file.append(*lines)
            except OSError as error:
                raise self._failure(error) from error
            self._has_begun = True

    def sync(self) -> None:
        """Wait until all events so far are on the disk.

        Raises:
            StateError: They cannot be written.
        """
        if not self._is_dirty:
            return
        self._is_dirty = False
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Write everything to disk and close the file."""
        self.sync()
        self._file.close()

    def _failure(self, error: OSError) -> StateError:
        return StateError(
            f"The journal {self._path} cannot be written ({error.strerror or error}). "
            "What is in it stays; make room or set LFEXP_HOME to another folder, then resume the run."
        )


def prepare_encoding() -> None:
    """Build what encodes events, which otherwise the first event of each kind waits for."""
    for kind in get_args(get_args(Event)[0]):
        _adapter(kind)


def _encode(event: Event) -> bytes:
    return _adapter(type(event)).dump_json(event)


def _adapter(kind: type[Event]) -> TypeAdapter[Event]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


class JournalReader:
    """Reads events; each call of `read` goes on where the last one stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = 0
        self._blocks = Blocks()
        """Of what was read again."""
        self._head = b""
        """How the journal begins, by which one that replaced it under the same name is told apart."""
        self.offset = 0
        """Bytes of the lines whose events have been read; while an event is yielded, where its line begins."""

    def read(self, max_lines: int | None = None) -> Iterator[Event]:
        """Yield the events added since the last call, with `Damaged` in the place of a damaged record.

        Args:
            max_lines: Stop after so many lines; the next call goes on from there.

        Raises:
            StateError: The file cannot be read, or a newer version wrote it.
        """
        if not self.path.exists():
            return
        with _reading(self.path) as file:
            if len(self._head) < HEAD_BYTES:
                begin = file.read(HEAD_BYTES)
                # What follows the last line feed may be cut off.
                self._head = begin[: max(begin.rfind(b"\n") + 1, min(self.offset, HEAD_BYTES))]
            file.seek(self.offset)
            for line in islice(file, max_lines):
                if not line.endswith(b"\n"):
                    return
                content = unframe(line[:-1])
                if content is not None:
                    event = self._parse(content)
                    if event is not None:
                        yield event
                else:
                    yield from self._recover(line[:-1])
                self.offset += len(line)
                self._line += 1

    def is_replaced(self) -> bool:
        """Tell whether the journal is another one than that which was read, or was cut.

        Raises:
            StateError: The file cannot be read.
        """
        if not self.path.exists():
            return self.offset > 0
        with _reading(self.path) as file:
            return os.fstat(file.fileno()).st_size < self.offset or file.read(len(self._head)) != self._head

    def read_again(self, kind: type[E], repeat: int, item_id: str, offset: int) -> E:
        """Return an item's event that was read.

        Args:
            kind: The event's.
            repeat: The repetition of the item.
            item_id: The item's.
            offset: Where its line begins, as `offset` said while `read` yielded it.

        Raises:
            StateError: The file cannot be read, or it was replaced since; lines near the last ones may be in memory.
        """
        # A damaged line may have several.
        for event in reversed(self._events_of_line(offset)):
            if isinstance(event, kind) and (event.repeat, event.item_id) == (repeat, item_id):
                return event
        raise StateError(f"The journal {self.path} has changed while it was read. Call again.")

    def _events_of_line(self, offset: int) -> list[Event]:
        line = self._blocks.line(offset)
        if line is None:
            line = self._read_block(offset)
        content = unframe(line)
        event = self._parse(content) if content is not None else None
        return [event] if event is not None else _unframed(line) or _salvage(line)

    def _read_block(self, offset: int) -> bytes:
        with _reading(self.path) as file:
            if file.read(len(self._head)) != self._head:
                raise StateError(
                    f"The journal {self.path} was replaced while it was read. Call again to read the new one."
                )
            return self._blocks.read(file, offset)

    def _parse(self, content: bytes) -> Event | None:
        """Parse a record whose checksum holds; None for a writer's first line."""
        try:
            return _VALIDATE(content)
        except ValidationError as error:
            opened = _opened(content)
            if opened is not None and opened.format <= FORMAT:
                return None
            of = f"lfexp-mcp {opened.version} (format {opened.format})" if opened else "a newer lfexp-mcp"
            raise StateError(
                f"The journal {self.path} was written by {of}; this is {__version__} (format {FORMAT}), which cannot "
                "read it. Use that version for this run: what it has not sent is kept."
            ) from error

    def _recover(self, line: bytes) -> Iterator[Event]:
        found = _unframed(line)
        if not found:
            yield Damaged(line=self._line + 1)
        yield from found or _salvage(line)


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise StateError(f"The journal {path} cannot be read ({error.strerror or error}).") from error


def _opened(content: bytes) -> JournalOpened | None:
    try:
        return JournalOpened.model_validate_json(content)
    except ValidationError:
        return None


def _salvage(line: bytes) -> list[Event]:
    """Read what is whole in a damaged line."""
    if not line.startswith(b"{"):
        return [event for content in read_frames(line + b"\n").contents for event in _valid(content)]
    # A line of version 0.1 that a full disk tore may have the next one's whole text behind it.
    starts = (match.start() for match in _LATER_EVENT.finditer(line, 1))
    return next((found for start in starts if (found := _unframed(line[start:]))), [])


def _unframed(line: bytes) -> list[Event]:
    """Read a line of version 0.1, which named judges in the metadata of their scores, and scripts nowhere."""
    return [
        replace(event, scores=tuple(map(_with_maker, event.scores)))
        if isinstance(event, ItemScored | RunScored)
        else event
        for event in _valid(line)
    ]


def _with_maker(score: Score) -> Score:
    if score.maker is not OTHERS:
        return score
    return replace(score, maker=recorded_maker(score.metadata) or ScriptMaker())


def _valid(content: bytes) -> list[Event]:
    try:
        return [_EVENT.validate_json(content)]
    except ValidationError:
        return []


def read_run_end(path: Path, max_bytes: float = math.inf, since: int = 0) -> RunEnded | None:
    """Return how a run ended, None where its newest worker has not recorded it; reads the journal from its end.

    Args:
        path: The journal's.
        max_bytes: How much to read at least before giving up. The whole journal of a running run would be read, which
            has no end.
        since: Where a line begins; what is before it is known to hold no end of the newest worker.

    Raises:
        StateError: The journal cannot be read.
    """
    if not path.exists():
        return None
    size, rest, is_cut = TAIL_BYTES, b"", True
    with _reading(path) as file:
        start = end = file.seek(0, os.SEEK_END)
        while start > since and end - start < max_bytes:
            before, start = start, max(start - size, since)
            file.seek(start)
            lines = (file.read(before - start) + rest).split(b"\n")
            # The first piece is the end of a line, of which the beginning is read next.
            rest = lines.pop(0) if start > since else b""
            if is_cut and lines:
                # What follows the last line feed is not a whole line.
                lines.pop()
                is_cut = False
            for event in _ends_and_starts(reversed(lines)):
                return event if isinstance(event, RunEnded) else None
            # A line that is longer than what was read is read in ever larger pieces.
            size = min(size * 8, MAX_PIECE_BYTES) if lines else size * 8
    return None


def _ends_and_starts(lines: Iterable[bytes]) -> Iterator[RunEnded | WorkerAccepted | WorkerLoading]:
    for line in lines:
        if b'"run_ended"' in line or b'"accepted"' in line or b'"loading"' in line:
            for event in reversed(_valid(unframe(line) or line) or _salvage(line)):
                if isinstance(event, RunEnded | WorkerAccepted | WorkerLoading):
                    yield event
