"""Pages by number. Far into a listing they are found from a place before them, and are the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.store import database as database_module
from lfexp_mcp.store.database import Connection, Database
from lfexp_mcp.store.paging import Conditions, PageQuery, page_of

KEYS = ("numbers.tens", "numbers.number")
ORDER = "tens DESC, number DESC"


@contextmanager
def numbers(folder: Path, count: int) -> Iterator[Database]:
    """A store with a table of numbers."""
    database = Database(folder / "store.sqlite3")
    with database.write() as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, tens INTEGER, is_even INTEGER)")
        connection.execute("CREATE INDEX listed ON numbers (tens, number)")
    add(database, range(count))
    yield database
    database.close()


def add(database: Database, added: range) -> None:
    with database.write() as connection:
        connection.executemany("INSERT INTO numbers VALUES (?, ?, ?)", [(n, n // 10, n % 2 == 0) for n in added])


def page(connection: Connection, number: int, limit: int = 10, *, even: bool = False) -> object:
    conditions = Conditions()
    if even:
        conditions.equal("is_even", 1)
    query = PageQuery(page=number, limit=limit)
    found = page_of(connection, query, "numbers", conditions, ORDER, lambda row: int(row["number"]), newest_first=KEYS)
    return found["data"]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A table of 120 numbers."""
    with numbers(tmp_path_factory.mktemp("pages"), 120) as database:
        yield database


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([1, 3, 7, 100]), st.booleans()), max_size=30))
def test_a_page_is_the_same_whichever_pages_were_read_before(
    listed: Database, pages: list[tuple[int, int, bool]]
) -> None:
    with pytest.MonkeyPatch.context() as patch, listed.read() as connection:
        patch.setattr(database_module, "MIN_PLACE_DISTANCE", 5)
        for number, limit, even in pages:
            rows = [each for each in reversed(range(120)) if not even or each % 2 == 0]
            assert page(connection, number, limit, even=even) == rows[(number - 1) * limit : number * limit]


def test_places_are_forgotten_when_rows_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MIN_PLACE_DISTANCE", 5)
    with numbers(tmp_path, 50) as database:
        with database.read() as connection:
            assert page(connection, 2) == list(range(39, 29, -1))
        add(database, range(50, 60))
        with database.read() as connection:
            assert page(connection, 3) == list(range(39, 29, -1))


def test_a_page_far_into_a_listing_is_found_from_the_one_before_it(tmp_path: Path) -> None:
    def steps_of_page_300(connection: Connection) -> int:
        taken: list[None] = []
        connection.set_progress_handler(lambda: taken.append(None), 100)
        page(connection, 300, 100)
        connection.set_progress_handler(None, 100)
        return len(taken)

    with numbers(tmp_path, 30_000) as database, database.read() as one, database.read() as other:
        # Counts are remembered apart from places.
        page(one, 1)
        page(other, 299, 100)
        assert steps_of_page_300(other) * 5 < steps_of_page_300(one)
