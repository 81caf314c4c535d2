"""Pages by number, for the resources that have them, and the pieces of queries that several routes share."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue

from lfexp_mcp.store.call import Fields

SqlValue: TypeAlias = str | int | float | None


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
    """The conditions of a query, all of which must hold, with their parameters."""

    def __init__(self) -> None:
        self._clauses: list[str] = []
        self.parameters: list[SqlValue] = []

    def add(self, clause: str, *parameters: SqlValue) -> None:
        """Add a condition in SQL, with a `?` for each parameter."""
        self._clauses.append(clause)
        self.parameters.extend(parameters)

    def equal(self, column: str, value: SqlValue) -> None:
        """Ask for a value, unless it is `None`."""
        if value is not None:
            self.add(f"{column} = ?", value)

    def one_of(self, column: str, values: Sequence[str] | None) -> None:
        """Ask for one of some values, unless `values` is `None`."""
        if values is not None and len(values) == 1:
            # An equality lets SQLite read an index in the order of the page; a list makes it sort all that follows.
            self.equal(column, values[0])
        elif values is not None:
            self.add(f"{column} IN (SELECT value FROM json_each(?))", json.dumps(list(values)))  # noqa: S608

    def between(self, column: str, start: int | None, end: int | None) -> None:
        """Ask for a time at or after `start` and before `end`, where given."""
        if start is not None:
            self.add(f"{column} >= ?", start)
        if end is not None:
            self.add(f"{column} < ?", end)

    @property
    def sql(self) -> str:
        """The `WHERE` clause, or nothing when there are no conditions."""
        return f"WHERE {' AND '.join(self._clauses)}" if self._clauses else ""


def page_of(
    connection: sqlite3.Connection,
    query: PageQuery,
    source: str,
    conditions: Conditions,
    order: str,
    shape: Callable[[sqlite3.Row], JsonValue],
    columns: str = "*",
) -> dict[str, JsonValue]:
    """Read one page and count all rows.

    Args:
        connection: Where to read.
        query: Which page, of how many rows.
        source: The `FROM` clause.
        conditions: What the rows must fulfil.
        order: The `ORDER BY` clause.
        shape: Makes the answer's object of a row.
        columns: The columns to select.

    Returns:
        `data` and `meta` as Langfuse answers them.
    """
    where, parameters = conditions.sql, conditions.parameters
    total: int = connection.execute(f"SELECT count(*) FROM {source} {where}", parameters).fetchone()[0]  # noqa: S608
    rows = connection.execute(
        f"SELECT {columns} FROM {source} {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608
        [*parameters, query.limit, (query.page - 1) * query.limit],
    )
    return {"data": [shape(row) for row in rows], "meta": page_meta(query, total)}


def page_meta(query: PageQuery, total: int) -> dict[str, JsonValue]:
    """Build the `meta` of a page.

    Args:
        query: Which page, of how many rows.
        total: How many rows there are in all.
    """
    return {"page": query.page, "limit": query.limit, "totalItems": total, "totalPages": -(-total // query.limit)}


def to_json(value: JsonValue) -> str | None:
    """Write a JSON value for a column; `None` stays `NULL`."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str | None) -> JsonValue:
    """Read a JSON value from a column."""
    value: JsonValue = None if text is None else json.loads(text)
    return value


def number(value: float) -> int | float:
    """Write a number as JavaScript does: whole numbers without a fraction."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def number_or_none(value: float | None) -> int | float | None:
    """Write a number as JavaScript does, or `None` if there is none."""
    return None if value is None else number(value)
