"""Group commit: concurrent writers share one transaction, and so one sync of the disk."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_GROUP_S = 0.05


class _Group:
    """The writers of one transaction, which wait until it is on disk."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._ended = threading.Event()
        self._error: sqlite3.Error | None = None

    def end(self, error: sqlite3.Error | None = None) -> None:
        """Release the writers: what they wrote is on disk, or lost for the reason given."""
        self._error = error
        self._ended.set()

    def wait(self) -> None:
        """Wait for the end.

        Raises:
            sqlite3.OperationalError: What was written is lost.
        """
        self._ended.wait()
        if self._error is not None:
            raise sqlite3.OperationalError(str(self._error)) from self._error


class GroupCommit:
    """Gives the writers of one process their turns on one connection.

    A writer that ends its turn while others wait leaves the commit to them; the last of them, or the first after the
    group's time is over, commits for all. No writer returns before that commit: what it was told is stored is on disk.

    Args:
        connect: Opens the connection, in autocommit mode, when the first writer comes.
        max_group_s: How long further writers can join a transaction while some wait for their turn.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], max_group_s: float = MAX_GROUP_S) -> None:
        self._connect = connect
        self._max_group_s = max_group_s
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._group: _Group | None = None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a writer its turn; its part of the transaction is rolled back on any exception.

        Raises:
            sqlite3.OperationalError: The transaction could not begin, or be committed.
        """
        with self._my_turn():
            connection, group = self._join()
            try:
                with self._part(connection):
                    yield connection
            finally:
                self._commit_if_last(connection, group)
        group.wait()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self._counting:
            self._waiting += 1
        with self._turn:
            with self._counting:
                self._waiting -= 1
            yield

    def _join(self) -> tuple[sqlite3.Connection, _Group]:
        if self._connection is None:
            self._connection = self._connect()
        if self._group is None:
            self._connection.execute("BEGIN IMMEDIATE")
            self._group = _Group()
        return self._connection, self._group

    @contextmanager
    def _part(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            # SQLite has rolled back the whole transaction if the disk is full or failed.
            if connection.in_transaction:
                connection.execute("ROLLBACK TO part")
                connection.execute("RELEASE part")
            raise
        connection.execute("RELEASE part")

    def _commit_if_last(self, connection: sqlite3.Connection, group: _Group) -> None:
        if not connection.in_transaction:
            self._end(sqlite3.OperationalError("the transaction was rolled back"))
        elif not self._waiting or time.monotonic() - group.begun > self._max_group_s:
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._end(error)
            else:
                self._end()

    def _end(self, error: sqlite3.Error | None = None) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.end(error)
