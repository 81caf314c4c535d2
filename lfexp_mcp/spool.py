"""Objects on disk instead of in memory, as long as this process needs them."""

import pickle
from array import array
from collections import deque
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile, gettempdir
from threading import Lock
from typing import Generic, TypeVar
from weakref import finalize

from lfexp_mcp.errors import StateError

T = TypeVar("T")

MEMORY_BYTES = 2_000_000
"""Of the objects of one spool; what is more lies in a temporary file, private to the user."""
NO_ROOM = (
    "A temporary file in {folder} cannot be written ({why}). What was recorded stays. Make room, or set TMPDIR to "
    "another folder, then make the call again; resume a run."
)


class Spool(Generic[T]):
    """Objects that can be pickled, by their places from 0 on; memory holds 8 bytes of each. Thread-safe."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed with its last use
        self._ends = array("q", [0])
        self._lock = Lock()
        finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, value: T) -> None:
        """Add an object.

        Raises:
            StateError: There is no room on disk.
        """
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            try:
                self._file.seek(self._ends[-1])
                self._file.write(content)
            except OSError as error:
                raise StateError(NO_ROOM.format(folder=gettempdir(), why=error.strerror or error)) from error
            self._ends.append(self._ends[-1] + len(content))

    def __getitem__(self, place: int) -> T:
        with self._lock:
            self._file.seek(self._ends[place])
            content = self._file.read(self._ends[place + 1] - self._ends[place])
        value: T = pickle.loads(content)  # noqa: S301 - of this process
        return value

    def __iter__(self) -> Iterator[T]:
        return map(self.__getitem__, range(len(self)))


class SpooledQueue(Generic[T]):
    """A queue of objects, of which those beyond `in_memory` lie on disk. Not thread-safe."""

    def __init__(self, in_memory: int) -> None:
        self._in_memory = in_memory
        self._first: deque[T] = deque()
        self._others = Spool[T]()
        self._taken = 0
        """How many of the others have been taken."""

    def __len__(self) -> int:
        return len(self._first) + len(self._others) - self._taken

    def append(self, value: T) -> None:
        """Add an object.

        Raises:
            StateError: There is no room on disk.
        """
        # Nothing may overtake what lies on disk.
        if len(self._others) == self._taken and len(self._first) < self._in_memory:
            self._first.append(value)
        else:
            self._others.append(value)

    def first(self) -> T:
        """Return what has been in the queue for longest.

        Raises:
            IndexError: There is nothing.
        """
        if not self._first and len(self):
            end = min(self._taken + self._in_memory, len(self._others))
            self._first.extend(self._others[place] for place in range(self._taken, end))
            self._taken = end
            if end == len(self._others):
                self._others, self._taken = Spool(), 0
        return self._first[0]

    def popleft(self) -> T:
        """Take what has been in the queue for longest.

        Raises:
            IndexError: There is nothing.
        """
        self.first()
        return self._first.popleft()
