"""The journal of a run: one line for each thing that happened, only ever appended to.

A line is JSON behind its length and checksum (`framing`); journals of version 0.1 have the JSON alone. What is written
is in the operating system's hands at once, so that it outlives the process, and on the disk within a fraction of a
second (`sync`), so that it outlives a power cut. A process killed while it writes leaves half a line at the end, which
the reader leaves alone and the next writer cuts off. A damaged line anywhere else is left out, and said.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import IO, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from lfexp_mcp import __version__
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.disk import sync_folder
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import EvaluatorFailure, ModelCaller, ModelUsage, Provenance, Score, ScriptMaker, recorded_maker
from lfexp_mcp.runs.framing import AppendedFile, frame, read_frames, unframe

FORMAT = 2
"""Of the journal: 1 had no checksums."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime = Field(default_factory=CLOCK.now)


class JournalOpened(BaseModel):
    """A process has begun to write; tells what wrote the lines after it."""

    event: Literal["opened"] = "opened"
    format: int = FORMAT
    version: str = __version__


class Damaged(_Event):
    """Stands where a reader found what is no whole record; never written."""

    event: Literal["damaged"] = "damaged"
    line: int


class WorkerLoading(_Event):
    """A worker has taken the order and loads the user's code, after which it accepts or refuses."""

    event: Literal["loading"] = "loading"


class WorkerAccepted(_Event):
    """A worker has checked the order and begins."""

    event: Literal["accepted"] = "accepted"
    pid: int
    provenance: Provenance = Provenance()


class ItemStarted(_Event):
    """An item's task begins; without an `ended` it was at work when its process died."""

    event: Literal["started"] = "started"
    item_id: str
    repeat: int = 0


class ItemEnded(_Event):
    """An item's task has ended, and its spans are in the outbox."""

    event: Literal["ended"] = "ended"
    item_id: str
    repeat: int = 0
    status: Literal["succeeded", "failed"]
    output: JsonValue = None
    error: str | None = None
    attempts: int = 1
    """How often the task was called, retries included."""
    task_version: str | None = None
    """Tells the code or prompt that made this result from an edited one; None where that is not known."""
    trace_id: str
    root_id: str
    """Span `experiment-item-run`, the parent of the evaluation."""
    observation_id: str
    """Span `experiment-item-task`, which the scores attach to."""
    started: datetime
    """When the last call of the task began."""
    seconds: float
    """How long it took, without the time that it waited for a thread, for the runner, or for its turn at a provider."""


def _with_makers(scores: object) -> object:
    """Add the makers to scores that version 0.1 journaled; it named judges in the metadata, and scripts nowhere."""
    if not isinstance(scores, list):
        return scores
    return [
        {**score, "maker": recorded_maker(score.get("metadata") or {}) or ScriptMaker()}
        if isinstance(score, dict) and "maker" not in score
        else score
        for score in scores
    ]


Scores = Annotated[tuple[Score, ...], BeforeValidator(_with_makers)]


class ItemScored(_Event):
    """All evaluators and judges of an item have ended."""

    event: Literal["scored"] = "scored"
    item_id: str
    repeat: int = 0
    evaluators: tuple[str, ...] | None = None
    """Names of all that have scored the item, or tried to; None where that is not known."""
    scores: Scores = ()
    unscored: tuple[EvaluatorFailure, ...] = ()


class RunScored(_Event):
    """The evaluators of a whole repetition have ended."""

    event: Literal["run_scored"] = "run_scored"
    repeat: int = 0
    scores: Scores = ()
    unscored: tuple[EvaluatorFailure, ...] = ()


class StatusRecorded(_Event):
    """The status of the run is to be written to Langfuse, replacing the one before."""

    event: Literal["marked"] = "marked"
    score: Score


class ScoresStored(_Event):
    """Langfuse acknowledged these scores."""

    event: Literal["stored"] = "stored"
    ids: tuple[str, ...]


class ScoresMissing(_Event):
    """Langfuse acknowledged these scores and does not show them: they are sent again."""

    event: Literal["missing"] = "missing"
    ids: tuple[str, ...]


class WriteRefused(_Event):
    """Langfuse refused a score or a span as wrong; it is kept here or in the outbox, and sent again by a resume."""

    event: Literal["refused"] = "refused"
    kind: Literal["score", "span"]
    id: str
    name: str
    message: str


class Warned(_Event):
    """Something that the user should know."""

    event: Literal["warned"] = "warned"
    text: str


class Executed(_Event):
    """All items have been run and scored, and the run as a whole; what is left is to be acknowledged by Langfuse."""

    event: Literal["executed"] = "executed"


class ModelsCalled(_Event):
    """A judge, or a task that is a prompt, has called its model; what that used since the last such event."""

    event: Literal["models_called"] = "models_called"
    user: ModelCaller
    usage: ModelUsage


class ProviderRetried(_Event):
    """Calls to a provider failed and were made again; how often since the last such event of it."""

    event: Literal["provider_retried"] = "provider_retried"
    provider: str
    retries: int
    rate_limited: int
    """Those of them that the provider had turned away because of a rate limit."""


class RunEnded(_Event):
    """The worker is done, in one way or another."""

    event: Literal["run_ended"] = "run_ended"
    status: Literal["completed", "failed", "cancelled"]
    cause: Literal["undelivered"] | None = None
    """Set when all that is missing is Langfuse's acknowledgement."""
    reason: str | None = None
    """A sentence for the user; None for a completed run."""


Event = Annotated[
    WorkerLoading
    | WorkerAccepted
    | ItemStarted
    | ItemEnded
    | ItemScored
    | RunScored
    | StatusRecorded
    | ScoresStored
    | ScoresMissing
    | WriteRefused
    | Warned
    | ModelsCalled
    | ProviderRetried
    | Executed
    | RunEnded
    | Damaged,
    Field(discriminator="event"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_LATER_EVENT = re.compile(rb'\{"at":"')
"""How a line of version 0.1 begins that follows on half a one."""
TAIL = 16_384
"""Bytes read from a journal's end at first, to learn how its run ended."""


class JournalWriter:
    """Appends events; safe to use from several threads."""

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
        """Write events so that they outlive this process.

        Raises:
            StateError: The disk is full or the file cannot be written.
        """
        lines = [frame(event.model_dump_json().encode()) for event in events]
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


class JournalReader:
    """Reads events as they come; each call of `read` goes on where the last one stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._line = 0

    def read(self) -> Iterable[Event]:
        """Return the events that were added since the last call; a `Damaged` stands for what is no whole record.

        Raises:
            StateError: The file cannot be read, or a newer version wrote it.
        """
        if not self._path.exists():
            return []
        with _reading(self._path) as file:
            file.seek(self._offset)
            content = file.read()
        complete = content.rfind(b"\n") + 1
        self._offset += complete
        return [event for line in content[:complete].split(b"\n")[:-1] for event in self._parse(line)]

    def _parse(self, line: bytes) -> Iterator[Event]:
        self._line += 1
        content = unframe(line)
        if content is not None:
            event = self._parse_whole(content)
            if event is not None:
                yield event
            return
        found = _valid(line)
        if not found:
            yield Damaged(line=self._line)
        yield from found or _salvage(line)

    def _parse_whole(self, content: bytes) -> Event | None:
        """Read what its checksum vouches for; None for what only tells of the writer."""
        try:
            return _EVENT.validate_json(content)
        except ValidationError as error:
            opened = _opened(content)
            if opened is not None and opened.format <= FORMAT:
                return None
            of = f"lfexp-mcp {opened.version} (format {opened.format})" if opened else "a newer lfexp-mcp"
            raise StateError(
                f"The journal {self._path} was written by {of}; this is {__version__} (format {FORMAT}), which cannot "
                "read it. Use that version for this run: what it has not sent is kept."
            ) from error


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
    return next((found for start in starts if (found := _valid(line[start:]))), [])


def _valid(content: bytes) -> list[Event]:
    try:
        return [_EVENT.validate_json(content)]
    except ValidationError:
        return []


def read_run_end(path: Path) -> RunEnded | None:
    """Return how a run ended, None where its newest worker has not told; reads the journal from its end.

    Raises:
        StateError: The journal cannot be read.
    """
    if not path.exists():
        return None
    size = TAIL
    with _reading(path) as file:
        end = file.seek(0, os.SEEK_END)
        while True:
            start = max(end - size, 0)
            file.seek(start)
            lines = file.read(end - start).split(b"\n")
            # The first piece is half a line unless it is the file's, and the last is what follows the last line's end.
            for line in reversed(lines[1 if start else 0 : -1]):
                if b'"run_ended"' not in line and b'"accepted"' not in line and b'"loading"' not in line:
                    continue
                for event in reversed(_valid(unframe(line) or line) or _salvage(line)):
                    if isinstance(event, RunEnded):
                        return event
                    if isinstance(event, WorkerAccepted | WorkerLoading):
                        return None
            if not start:
                return None
            size *= 8
