"""The store file: made, migrated, refused."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lfexp_mcp.errors import StoreError
from lfexp_mcp.store.database import Database
from lfexp_mcp.store.process import ensure_store
from lfexp_mcp.store.schema import MIGRATIONS, migrate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.sqlite3"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "plain.sqlite3", isolation_level=None)) as opened:
        yield opened


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _close(path: Path) -> None:
    Database(path).close()


def test_a_new_store_has_the_newest_schema(path: Path) -> None:
    _close(path)
    with closing(sqlite3.connect(path)) as connection:
        assert _version(connection) == len(MIGRATIONS)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_from_a_newer_version_is_refused_untouched(path: Path) -> None:
    _close(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="99"):
        Database(path)
    with closing(sqlite3.connect(path)) as connection:
        assert _version(connection) == 99


@pytest.mark.slow
def test_starting_the_server_on_a_newer_store_says_why_it_fails(tmp_path: Path) -> None:
    _close(tmp_path / "store.sqlite3")
    with closing(sqlite3.connect(tmp_path / "store.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="99"):
        ensure_store(tmp_path)


def test_an_older_store_is_migrated_with_what_it_holds(connection: sqlite3.Connection, tmp_path: Path) -> None:
    migrate(connection, tmp_path, ["CREATE TABLE kept (name TEXT)"])
    connection.execute("INSERT INTO kept VALUES ('old')")
    newer = ["CREATE TABLE kept (name TEXT)", "ALTER TABLE kept ADD COLUMN age INTEGER; CREATE TABLE added (n INTEGER)"]
    migrate(connection, tmp_path, newer)
    assert connection.execute("SELECT name, age FROM kept").fetchall() == [("old", None)]
    assert (_version(connection), _tables(connection)) == (2, {"kept", "added"})


def test_a_migration_that_fails_leaves_the_file_as_it_was(connection: sqlite3.Connection, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, tmp_path, ["CREATE TABLE first (n INTEGER); CREATE TABEL second (n INTEGER)"])
    assert (_version(connection), _tables(connection)) == (0, set())


def test_a_file_that_is_no_store_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("this is a letter, not a database, and long enough to be looked at" * 20, encoding="utf-8")
    with pytest.raises(StoreError, match="sqlite3"):
        Database(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="sqlite3"):
        Database(tmp_path / "file" / "store.sqlite3")


def test_opening_a_new_store_many_times_at_once_works(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(Database, [path] * 8))
    for database in opened:
        with database.write() as connection:
            connection.execute("INSERT INTO models (id, name, match_pattern, pricing_tiers, created_at) VALUES "
                               "(hex(randomblob(8)), 'm', 'm', '[]', 0)")  # fmt: skip
    with opened[0].read() as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone()[0] == 8
    for database in opened:
        database.close()


def test_a_write_that_fails_is_rolled_back(path: Path) -> None:
    database = Database(path)
    insert = "INSERT INTO datasets (id, name, created_at, updated_at) VALUES (?, 'one', 0, 0)"
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        connection.executemany(insert, [("a",), ("b",)])
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM datasets").fetchone()[0] == 0
    database.close()


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
def test_folder_and_file_are_private_to_the_user(path: Path) -> None:
    _close(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
