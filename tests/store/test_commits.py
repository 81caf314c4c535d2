"""Writers that come together share one commit, and each is told the truth about its own part."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from lfexp_mcp.store.commits import GroupCommit
from lfexp_mcp.store.database import Database
from tests.waiting import PATIENCE_S, wait_until

WRITERS = 10
FOREVER_S = 1e6


class Log:
    """A file of numbers, its group commit, and what was committed when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits = GroupCommit(self._connect, FOREVER_S)
        self.returned: list[int] = []
        self.returned_at_commit: list[list[int]] = []
        with closing(self._connect()) as connection:
            connection.execute("CREATE TABLE parents (n INTEGER PRIMARY KEY)")
            connection.execute(
                "CREATE TABLE numbers (n INTEGER PRIMARY KEY, "
                "parent INTEGER REFERENCES parents (n) DEFERRABLE INITIALLY DEFERRED)"
            )
        self.returned_at_commit.clear()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.set_trace_callback(self._note)
        return connection

    def _note(self, statement: str) -> None:
        if statement == "COMMIT":
            self.returned_at_commit.append(sorted(self.returned))

    def write(self, number: int, sql: str = "INSERT INTO numbers VALUES (?, NULL)") -> None:
        with self.commits.write() as connection:
            connection.execute(sql, (number,))
        self.returned.append(number)

    def stored(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "numbers.sqlite3")
    yield log
    log.commits.close()


def _together(log: Log, *writes: Callable[[], None]) -> list[Future[None]]:
    """Let writers come while another has its turn, which writes number 0."""
    entered, leave = Event(), Event()

    def first() -> None:
        with log.commits.write() as connection:
            connection.execute("INSERT INTO numbers VALUES (0, NULL)")
            entered.set()
            assert leave.wait(PATIENCE_S)
        log.returned.append(0)

    with ThreadPoolExecutor(len(writes) + 1) as pool:
        futures = [pool.submit(first)]
        assert entered.wait(PATIENCE_S)
        for write in writes:
            futures.append(pool.submit(write))
            wait_until(lambda: log.commits._waiting == len(futures) - 1)
        leave.set()
    return futures


def test_writers_that_come_together_share_one_commit_and_none_returns_before_it(log: Log) -> None:
    futures = _together(log, *[lambda number=number: log.write(number) for number in range(1, WRITERS)])
    assert [future.exception() for future in futures] == [None] * WRITERS
    assert log.stored() == list(range(WRITERS))
    assert log.returned_at_commit == [[]]


def test_a_writer_alone_commits_at_once(log: Log) -> None:
    log.write(1)
    log.write(2)
    assert log.returned_at_commit == [[], [1]]


def test_a_writer_that_fails_takes_back_its_own_part_only(log: Log) -> None:
    def fail() -> None:
        with log.commits.write() as connection:
            connection.execute("INSERT INTO numbers VALUES (7, NULL)")
            raise ValueError("mine")

    first, failed, last = _together(log, fail, lambda: log.write(2))
    assert (first.exception(), last.exception()) == (None, None)
    assert isinstance(failed.exception(), ValueError)
    assert log.stored() == [0, 2]


def test_a_commit_that_fails_is_told_to_all_whose_writes_are_lost(log: Log) -> None:
    futures = _together(log, lambda: log.write(1, "INSERT INTO numbers VALUES (?, 99)"), lambda: log.write(2))
    assert [type(future.exception()) for future in futures] == [sqlite3.OperationalError] * 3
    assert log.stored() == []
    log.write(3)
    assert log.stored() == [3]


def test_a_transaction_that_the_database_gave_up_is_told_to_those_before(log: Log) -> None:
    first, failed = _together(log, lambda: log.write(0, "INSERT OR ROLLBACK INTO numbers VALUES (?, NULL)"))
    assert isinstance(first.exception(), sqlite3.OperationalError)
    assert isinstance(failed.exception(), sqlite3.IntegrityError)
    assert log.stored() == []
    log.write(2)
    assert log.stored() == [2]


def test_a_commit_of_the_store_is_synced_to_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.sqlite3")
    for access in (database.write, database.read):
        with access() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
            assert connection.execute("PRAGMA fullfsync").fetchone()[0] == 1
    database.close()
