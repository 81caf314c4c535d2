"""The structured `filter` parameter: JSON conditions, turned into SQL over a fixed set of columns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from lfexp_mcp.store.database import SqlValue
from lfexp_mcp.store.http_errors import BadRequestError, InvalidRequestError
from lfexp_mcp.store.paging import Conditions
from lfexp_mcp.store.times import parse_ms

FilterType = Literal[
    "datetime", "string", "number", "stringOptions", "categoryOptions", "arrayOptions", "stringObject", "numberObject",
    "boolean", "null",
]  # fmt: skip


ColumnKind = Literal["string", "number", "datetime", "boolean", "array", "object"]
_FITTING: Mapping[ColumnKind, frozenset[FilterType]] = {
    "string": frozenset({"string", "stringOptions", "null"}),
    "number": frozenset({"number", "null"}),
    "datetime": frozenset({"datetime", "null"}),
    "boolean": frozenset({"boolean", "null"}),
    "array": frozenset({"arrayOptions", "null"}),
    "object": frozenset({"stringObject", "numberObject", "categoryOptions", "null"}),
}
"""Types of conditions by the column that they may be on. SQLite would compare text with numbers, and find all of it."""


class FilterCondition(BaseModel):
    """One condition, as the client sent it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: FilterType
    column: str
    operator: str
    value: JsonValue = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class FilterColumn:
    """A column that conditions may name."""

    sql: str
    """Its SQL expression; the JSON text of an object or a list."""
    kind: ColumnKind = "string"


MAX_CONDITIONS = 100
"""SQLite limits how deep conditions nest."""

_ADAPTER = TypeAdapter(Annotated[list[FilterCondition], Field(max_length=MAX_CONDITIONS)])

_COMPARE = frozenset({"=", ">", "<", ">=", "<="})


def parse_filter(text: str) -> list[FilterCondition]:
    """Read the parameter.

    Raises:
        InvalidRequestError: It is not a JSON list of conditions.
    """
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        message = f"Invalid filter: a JSON array of at most {MAX_CONDITIONS} conditions is expected"
        raise InvalidRequestError.at("filter", message) from error


def apply_filter(conditions: Conditions, asked: list[FilterCondition], columns: Mapping[str, FilterColumn]) -> None:
    """Add the conditions that a client asks for to those of a query.

    Args:
        conditions: Those of the query.
        asked: What the client asked for.
        columns: The columns that may be named.

    Raises:
        BadRequestError: A column or operator is not supported, or a type or value does not fit the column.
    """
    for condition in asked:
        column = columns.get(condition.column)
        if column is None:
            raise BadRequestError(f"Invalid filter column: {condition.column}. Supported: {', '.join(sorted(columns))}")
        fitting = _FITTING[column.kind]
        if condition.type not in fitting:
            types = ", ".join(sorted(fitting))
            raise BadRequestError(f"Filter on {condition.column}: type {condition.type} does not fit. Fitting: {types}")
        _apply(conditions, condition, column)


def _apply(conditions: Conditions, condition: FilterCondition, column: FilterColumn) -> None:
    plain = _Expression(column.sql)
    match condition.type:
        case "string":
            _text(conditions, plain, condition)
        case "stringOptions":
            _options(conditions, plain, condition)
        case "number":
            _compare(conditions, plain, condition, _number(condition))
        case "datetime":
            _compare(conditions, plain, condition, _time(condition))
        case "boolean":
            _boolean(conditions, column.sql, condition)
        case "null":
            _null(conditions, column.sql, condition)
        case "arrayOptions":
            _array(conditions, column, condition)
        case "stringObject":
            _require_member(conditions, column, condition)
            _text(conditions, _member(column, condition, _AS_TEXT), condition)
        case "categoryOptions":
            _options(conditions, _member(column, condition, _AS_TEXT), condition)
        case "numberObject":
            _compare(conditions, _member(column, condition, _AS_NUMBER), condition, _number(condition))


@dataclass(frozen=True, slots=True)
class _Expression:
    sql: str
    parameters: tuple[SqlValue, ...] = ()


def _text(conditions: Conditions, expression: _Expression, condition: FilterCondition) -> None:
    value = condition.value
    if not isinstance(value, str):
        raise _wrong_value(condition, "a string")
    sql, parameters = expression.sql, expression.parameters
    match condition.operator:
        case "=":
            conditions.add(f"{sql} = ?", *parameters, value)
        case "contains":
            conditions.add(f"instr({sql}, ?) > 0", *parameters, value)
        case "does not contain":
            conditions.add(f"instr(ifnull({sql}, ''), ?) = 0", *parameters, value)
        case "starts with":
            conditions.add(f"substr({sql}, 1, ?) = ?", *parameters, len(value), value)
        case "ends with" if value:
            conditions.add(f"substr({sql}, ?) = ?", *parameters, -len(value), value)
        case "ends with":
            conditions.add(f"{sql} IS NOT NULL", *parameters)
        case "matches":
            conditions.add(f"instr(lower({sql}), lower(?)) > 0", *parameters, value)
        case _:
            raise _wrong_operator(condition)


def _options(conditions: Conditions, expression: _Expression, condition: FilterCondition) -> None:
    words = {"any of": "IN", "none of": "NOT IN"}
    if condition.operator not in words:
        raise _wrong_operator(condition)
    clause = f"ifnull({expression.sql}, '') {words[condition.operator]} (SELECT value FROM json_each(?))"  # noqa: S608
    conditions.add(clause, *expression.parameters, json.dumps(_strings(condition)))


def _array(conditions: Conditions, column: FilterColumn, condition: FilterCondition) -> None:
    values = json.dumps(_strings(condition))
    wanted, members = "SELECT value FROM json_each(?)", f"SELECT value FROM json_each({column.sql})"  # noqa: S608
    match condition.operator:
        case "any of":
            conditions.add(f"EXISTS ({members} WHERE value IN ({wanted}))", values)
        case "none of":
            conditions.add(f"NOT EXISTS ({members} WHERE value IN ({wanted}))", values)
        case "all of":
            conditions.add(f"NOT EXISTS ({wanted} WHERE value NOT IN ({members}))", values)
        case _:
            raise _wrong_operator(condition)


def _compare(conditions: Conditions, expression: _Expression, condition: FilterCondition, value: SqlValue) -> None:
    if condition.operator not in _COMPARE:
        raise _wrong_operator(condition)
    conditions.add(f"{expression.sql} {condition.operator} ?", *expression.parameters, value)


def _boolean(conditions: Conditions, sql: str, condition: FilterCondition) -> None:
    if not isinstance(condition.value, bool):
        raise _wrong_value(condition, "true or false")
    if condition.operator not in ("=", "<>"):
        raise _wrong_operator(condition)
    conditions.add(f"{sql} {condition.operator} ?", int(condition.value))


def _null(conditions: Conditions, sql: str, condition: FilterCondition) -> None:
    if condition.operator not in ("is null", "is not null"):
        raise _wrong_operator(condition)
    conditions.add(f"nullif({sql}, '') {condition.operator}")


_AS_TEXT = "CASE WHEN type IN ('true', 'false', 'null') THEN type ELSE CAST(value AS TEXT) END"
"""A member as JSON, or as the text that it is."""
_AS_NUMBER = "CASE WHEN type IN ('integer', 'real') THEN value END"


def _member(column: FilterColumn, condition: FilterCondition, value: str) -> _Expression:
    if condition.key is None:
        raise BadRequestError(f"Filter on {condition.column}: type {condition.type} needs a key")
    return _Expression(f"(SELECT {value} FROM json_each({column.sql}) WHERE key = ?)", (condition.key,))  # noqa: S608


def _require_member(conditions: Conditions, column: FilterColumn, condition: FilterCondition) -> None:
    """Leave out objects without the member: what is not there does not even lack a text."""
    member = _member(column, condition, "1")
    conditions.add(f"{member.sql} = 1", *member.parameters)


def _number(condition: FilterCondition) -> float:
    if isinstance(condition.value, bool) or not isinstance(condition.value, int | float):
        raise _wrong_value(condition, "a number")
    return condition.value


def _time(condition: FilterCondition) -> int:
    try:
        return parse_ms(str(condition.value))
    except ValueError as error:
        raise _wrong_value(condition, "an ISO 8601 time") from error


def _strings(condition: FilterCondition) -> list[str]:
    if not isinstance(condition.value, list):
        raise _wrong_value(condition, "a list of strings")
    return [str(value) for value in condition.value]


def _wrong_value(condition: FilterCondition, expected: str) -> BadRequestError:
    return BadRequestError(f"Filter on {condition.column}: the value must be {expected}")


def _wrong_operator(condition: FilterCondition) -> BadRequestError:
    return BadRequestError(
        f"Filter on {condition.column}: operator {condition.operator!r} is not supported for type {condition.type}"
    )
