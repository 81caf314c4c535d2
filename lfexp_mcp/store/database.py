"""The SQLite file of the store: connections, transactions, privacy of the file."""

import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lfexp_mcp.disk import make_folder_durably, sync_folder
from lfexp_mcp.errors import StoreError
from lfexp_mcp.store.commits import GroupCommit
from lfexp_mcp.store.schema import INDEXES, MIGRATIONS, migrate

BUSY_TIMEOUT_S = 60.0
"""How long a statement waits for another process's write."""


def make_private_folder(folder: Path) -> None:
    """Create a folder, with its parents, that only the user can enter (where the system has such modes)."""
    make_folder_durably(folder)
    if os.name == "posix":
        folder.chmod(0o700)


class Database:
    """One store file, for the threads of one process; other processes may have the same file open.

    Readers take connections from a pool and see the last committed state (write-ahead log). Writers of this process
    take turns and share commits; `BEGIN IMMEDIATE` and the busy timeout order them with other processes.

    Args:
        path: The file; it is created, and brought to the newest schema, when needed.

    Raises:
        StoreError: The file cannot be opened, is no store, or is from a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: deque[sqlite3.Connection] = deque()
        self._commits = GroupCommit(self._connect)
        try:
            make_private_folder(path.parent)
            # Switching to the write-ahead log fails at once, without waiting, when two processes do it together.
            with FileLock(path.with_name(f"{path.name}.lock")):
                path.touch(mode=0o600)
                connection = self._connect()
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection, path, MIGRATIONS)
                for index in INDEXES:
                    connection.execute(index)
                sync_folder(path.parent)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The store {path} cannot be opened: {error}. Check that the folder is writable and the "
                "file is a store of lfexp-mcp, or choose another store folder."
            ) from error
        self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        # What a commit acknowledges has to survive a power cut; macOS syncs its disks only when asked to twice.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -8000")
        return connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for reading: one consistent state from first query to last."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a write transaction: on disk at the end, rolled back on any exception.

        Raises:
            sqlite3.OperationalError: The disk did not take it.
        """
        with self._commits.write() as connection:
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections; the store is not used afterwards."""
        self._commits.close()
        while self._idle:
            self._idle.pop().close()
