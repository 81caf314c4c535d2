"""Pages of listings, by number or by cursor, and the parts of queries that several routes share."""

import base64
import binascii
import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from lfexp_mcp.store.call import Fields
from lfexp_mcp.store.database import Connection, SqlValue
from lfexp_mcp.store.http_errors import InvalidRequestError, NotFoundError
from lfexp_mcp.store.times import parse_ms


def _split(value: object) -> object:
    if isinstance(value, str):
        return value.split(",")
    return value


CommaList = Annotated[list[str], BeforeValidator(_split)]
"""A parameter of values separated by commas."""

SPLIT_COMMAS = BeforeValidator(_split)


class PageQuery(Fields):
    """The parameters of a page by number."""

    page: int = Field(default=1, ge=1, le=2**31)
    limit: int = Field(default=50, ge=1, le=100)


class Conditions:
    """The conditions of a query, joined by AND, with their parameters."""

    def __init__(self) -> None:
        self._clauses: list[str] = []
        self.parameters: list[SqlValue] = []

    def add(self, clause: str, *parameters: SqlValue) -> None:
        """Add a condition in SQL with a `?` for each parameter."""
        self._clauses.append(clause)
        self.parameters.extend(parameters)

    def equal(self, column: str, value: SqlValue) -> None:
        """Require a value, unless it is None."""
        if value is not None:
            self.add(f"{column} = ?", value)

    def one_of(self, column: str, values: Sequence[str] | None) -> None:
        """Require one of some values, unless `values` is None."""
        if values is not None and len(values) == 1:
            # With an equality SQLite reads an index in the order of the page; with a list it sorts all rows.
            self.equal(column, values[0])
        elif values is not None:
            self.add(f"{column} IN (SELECT value FROM json_each(?))", json.dumps(list(values)))  # noqa: S608

    def between(self, column: str, start: int | None, end: int | None) -> None:
        """Require a time at or after `start` and before `end`, unless these are None."""
        if start is not None:
            self.add(f"{column} >= ?", start)
        if end is not None:
            self.add(f"{column} < ?", end)

    @property
    def sql(self) -> str:
        """The `WHERE` clause; empty if there are no conditions."""
        return f"WHERE {' AND '.join(self._clauses)}" if self._clauses else ""


def page_of(
    connection: Connection,
    query: PageQuery,
    source: str,
    conditions: Conditions,
    order: str,
    as_json: Callable[[sqlite3.Row], JsonValue],
    columns: str = "*",
    newest_first: Sequence[str] = (),
) -> dict[str, JsonValue]:
    """Read one page and count all rows.

    Args:
        connection: Where to read.
        query: Which page, of how many rows.
        source: The `FROM` clause.
        conditions: Those of the rows.
        order: The `ORDER BY` clause.
        as_json: Makes the JSON of a row.
        columns: The columns to select.
        newest_first: Those of the order if all of them descend and none is null. A page far into a listing is then
            found from the last one before it that was read, instead of from the first.

    Returns:
        `data` and `meta` as Langfuse returns them.
    """
    rows_sql = f"{source} {conditions.sql}"
    listing = connection.listing(rows_sql, conditions.parameters)
    if listing.total is None:
        # Each page of a listing tells how many rows there are in all.
        counted = connection.execute(f"SELECT count(*) FROM {rows_sql}", conditions.parameters)  # noqa: S608
        (listing.total,) = counted.fetchone()
    offset, before = (query.page - 1) * query.limit, 0
    if newest_first:
        before, key = listing.nearest_place(offset)
        if key:
            conditions.add(f"({', '.join(newest_first)}) < ({', '.join('?' for _ in key)})", *key)
    rows = connection.execute(
        f"SELECT {columns} FROM {source} {conditions.sql} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608
        [*conditions.parameters, query.limit, offset - before],
    ).fetchall()
    if newest_first and rows:
        key = tuple(rows[-1][column.rpartition(".")[2]] for column in newest_first)
        listing.remember_place(offset + len(rows), key)
    return {"data": [as_json(row) for row in rows], "meta": page_meta(query, listing.total)}


def page_meta(query: PageQuery, total: int) -> dict[str, JsonValue]:
    """Build the `meta` of a page.

    Args:
        query: Which page, of how many rows.
        total: How many rows there are in all.
    """
    return {"page": query.page, "limit": query.limit, "totalItems": total, "totalPages": -(-total // query.limit)}


def get_row(connection: sqlite3.Connection, table: str, id: str, missing: str) -> sqlite3.Row:
    """Read the row of an id.

    Raises:
        NotFoundError: There is none; its message is `missing`.
    """
    row: sqlite3.Row | None = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (id,)).fetchone()  # noqa: S608
    if row is None:
        raise NotFoundError(missing)
    return row


def insert(connection: sqlite3.Connection, table: str, **values: SqlValue) -> sqlite3.Row:
    """Add a row to a table, and return it."""
    places = ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"  # noqa: S608
    added = connection.execute(statement, [*values.values()]).lastrowid
    # `RETURNING` gives whole numbers of a column of floats as integers.
    row: sqlite3.Row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (added,)).fetchone()  # noqa: S608
    return row


def to_json(value: JsonValue) -> str | None:
    """Write a JSON value for a column; None is `NULL`."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str | None) -> JsonValue:
    """Read a JSON value from a column."""
    value: JsonValue = None if text is None else json.loads(text)
    return value


def number(value: float) -> int | float:
    """Write a number as JavaScript does: whole numbers without a fraction."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def number_or_none(value: float | None) -> int | float | None:
    """Write a number as JavaScript does, or None if there is none."""
    return None if value is None else number(value)


class Cursor(BaseModel):
    """Base of the cursors: the sort key of a page's last row, as base64url of JSON, in Langfuse's own forms."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    def encode(self) -> str:
        """Write the cursor for `meta.cursor`."""
        content = json.dumps(self.model_dump(by_alias=True), separators=(",", ":"), ensure_ascii=False)
        return base64.urlsafe_b64encode(content.encode("utf-8")).decode("ascii").rstrip("=")


Kind = TypeVar("Kind", bound=Cursor)


def decode_cursor(kind: type[Kind], text: str) -> Kind:
    """Read a cursor that a client sent back.

    Raises:
        InvalidRequestError: It is not one of this kind.
    """
    try:
        content = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return kind.model_validate_json(content)
    except (ValidationError, binascii.Error, UnicodeError, ValueError) as error:
        raise _invalid_cursor() from error


def cursor_time(text: str) -> int:
    """Read a time in a cursor, in milliseconds since the epoch.

    Raises:
        InvalidRequestError: It is not a time.
    """
    try:
        return parse_ms(text)
    except ValueError as error:
        raise _invalid_cursor() from error


def _invalid_cursor() -> InvalidRequestError:
    return InvalidRequestError.at("cursor", "Invalid cursor format")
