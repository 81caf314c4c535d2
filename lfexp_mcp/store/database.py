"""The SQLite file of the store: connections, transactions, file permissions."""

import os
import sqlite3
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock

from lfexp_mcp.disk import make_folder_durably, sync_folder
from lfexp_mcp.errors import StoreError
from lfexp_mcp.store.commits import GroupCommit
from lfexp_mcp.store.schema import ADDITIONS, MIGRATIONS, migrate

SqlValue: TypeAlias = str | int | float | None

BUSY_TIMEOUT_S = 60.0
"""How long a statement waits for another process's write."""

MAX_LISTINGS = 100
MIN_PLACE_DISTANCE = 1000
"""Rows between two places of a listing that are remembered."""


@dataclass(slots=True)
class Listing:
    """What a connection has seen of a listing: how many rows it has, and some places in it."""

    total: int | None = None
    """None until they are counted."""
    _offsets: list[int] = field(default_factory=lambda: [0])
    _keys: list[tuple[SqlValue, ...]] = field(default_factory=lambda: [()])

    def nearest_place(self, offset: int) -> tuple[int, tuple[SqlValue, ...]]:
        """Return the last place that is not behind an offset.

        Returns:
            Its own offset, and the sort key of the row before it, which is empty for the first place.
        """
        found = bisect_right(self._offsets, offset) - 1
        return self._offsets[found], self._keys[found]

    def remember_place(self, offset: int, key: tuple[SqlValue, ...]) -> None:
        """Remember where the listing goes on after the row of a sort key, unless a place near it is known."""
        at = bisect_right(self._offsets, offset)
        if offset - self._offsets[at - 1] >= MIN_PLACE_DISTANCE:
            self._offsets.insert(at, offset)
            self._keys.insert(at, key)


def make_private_folder(folder: Path) -> None:
    """Create a folder and its parents; only the user can enter it (on systems with such permissions)."""
    make_folder_durably(folder)
    if os.name == "posix":
        folder.chmod(0o700)


class Connection(sqlite3.Connection):
    """A connection that reads, and remembers what it has seen of listings until something is written."""

    _listings: dict[tuple[object, ...], Listing]
    _version: int | None = None

    def listing(self, rows: str, parameters: Sequence[SqlValue]) -> Listing:
        """Return what has been seen of a listing since the last write.

        Args:
            rows: The `FROM` and `WHERE` clauses.
            parameters: Theirs.
        """
        # It changes with each commit of any other connection, also of other processes.
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version, self._listings = version, {}
        key = (rows, *parameters)
        if key not in self._listings and len(self._listings) >= MAX_LISTINGS:
            self._listings.clear()
        return self._listings.setdefault(key, Listing())


class Database:
    """One store file, for the threads of one process; other processes may have the same file open.

    Readers take connections from a pool and see the last committed state (write-ahead log). Writers of this process
    take turns and share commits; `BEGIN IMMEDIATE` and the busy timeout order them with other processes.

    Args:
        path: The file; it is created, and migrated to the newest schema, if needed.

    Raises:
        StoreError: The file cannot be opened, is not a store, or is from a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: deque[Connection] = deque()
        self._commits = GroupCommit(self._connect)
        try:
            make_private_folder(path.parent)
            # Switching to the write-ahead log fails at once, without waiting, if two processes do it together.
            with FileLock(path.with_name(f"{path.name}.lock")):
                path.touch(mode=0o600)
                connection = self._connect()
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection, path, MIGRATIONS)
                for addition in ADDITIONS:
                    connection.execute(addition)
                sync_folder(path.parent)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The store {path} cannot be opened: {error}. Check that the folder is writable and the "
                "file is a store of lfexp-mcp, or choose another store folder."
            ) from error
        self._idle.append(connection)

    def _connect(self) -> Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=Connection
        )
        connection.row_factory = sqlite3.Row
        # What a commit acknowledges must survive a power cut; on macOS that takes a full fsync.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -8000")
        return connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read transaction: all its queries see one consistent state."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction: on disk at the end, rolled back on any exception.

        Raises:
            sqlite3.OperationalError: It could not be written.
        """
        with self._commits.write() as connection:
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections; the database must not be used afterwards."""
        self._commits.close()
        while self._idle:
            self._idle.pop().close()
