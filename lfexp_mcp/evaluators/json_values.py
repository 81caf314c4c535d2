"""Evaluators of JSON: against a schema, and field by field."""

import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator

from lfexp_mcp.evaluators.base import BuiltIn, UnscoredError, require
from lfexp_mcp.evaluators.numbers import Number, read_number, within
from lfexp_mcp.evaluators.texts import search
from lfexp_mcp.evaluators.values import MISSING, Missing, as_decimal, descend, equal, kind_of, lookup, parse_text, show
from lfexp_mcp.model import Evaluation
from lfexp_mcp.strict_json import strict_loads

MAX_NAMED = 5
"""Fields that a comment names."""
MAX_COMMENT_CHARS = 1000


class JsonSchema(BuiltIn):
    """Whether the output is valid by a JSON schema; text is read as JSON, and stays text where the schema wants text.

    The dialect is the one that `$schema` names, else 2020-12. References to other documents are never followed.
    """

    evaluator: ClassVar[str] = "json_schema"
    main_option: ClassVar[str | None] = "schema"

    definition: dict[str, JsonValue] | bool = Field(alias="schema")

    @field_validator("definition", mode="before")
    @classmethod
    def _parse(cls, given: object) -> object:
        return strict_loads(given) if isinstance(given, str) else given

    @field_validator("definition")
    @classmethod
    def _is_valid(cls, schema: dict[str, JsonValue] | bool) -> dict[str, JsonValue] | bool:
        from jsonschema.exceptions import SchemaError

        names = {name for value in descend(schema) if isinstance(value, dict) for name in value}
        if {"unevaluatedProperties", "patternProperties"} <= names:
            raise ValueError("unevaluatedProperties beside patternProperties is not supported")
        try:
            _validator_class(schema).check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"it is not a JSON schema: {error.message} at {error.json_path}") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        return schema

    @cached_property
    def _validator(self) -> Any:  # noqa: ANN401 - jsonschema has no types
        from referencing import Registry

        kind = _validator_class(self.definition)
        return kind(self.definition, registry=Registry(), format_checker=kind.FORMAT_CHECKER)

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:  # noqa: ARG002
        """Score one item; see `BuiltIn`."""
        problem = self._problem(output)
        if problem is not None and isinstance(output, str):
            try:
                problem = self._problem(parse_text(output))
            except ValueError as error:
                problem = f"{problem}; as JSON: {error}"
        return self.evaluation(problem is None, problem)

    def _problem(self, value: JsonValue) -> str | None:
        """Say why a value is not valid; None if it is."""
        from referencing.exceptions import Unresolvable

        try:
            error = next(self._validator.iter_errors(value), None)
        except Unresolvable as failure:
            raise UnscoredError(f"The schema has a reference that cannot be resolved: {failure}.") from None
        except RecursionError:
            raise UnscoredError("The schema refers to itself without end, or the output is too deep.") from None
        return None if error is None else f"{error.message[:300]} at {error.json_path[:100]}"


def _validator_class(schema: dict[str, JsonValue] | bool) -> Any:  # noqa: ANN401 - jsonschema has no types
    """Return the validator of a schema's dialect, with exact decimals.

    Neither a pattern nor the comparison of a long list's objects can take forever.
    """
    from jsonschema import validators

    newest = validators.Draft202012Validator
    return validators.extend(
        validators.validator_for(schema, default=newest),
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "multipleOf": _multiple_of,
            "uniqueItems": _unique_items,
        },
    )


def _pattern(validator: Any, pattern: str, value: object, schema: Any) -> Iterator[Any]:  # noqa: ANN401, ARG001
    if isinstance(value, str) and not search(pattern, value):
        yield _error(f"{show(value)} does not match {show(pattern)}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[Any]:  # noqa: ANN401, ARG001
    if isinstance(value, dict):
        for pattern, subschema in patterns.items():
            for name, member in value.items():
                if search(pattern, name):
                    yield from validator.descend(member, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, additional: Any, value: Any, schema: Any) -> Iterator[Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        return
    patterns = schema.get("patternProperties", {})
    for name in value.keys() - schema.get("properties", {}).keys():
        if not any(search(pattern, name) for pattern in patterns):
            if additional is False:
                yield _error(f"the property {show(name)} is not allowed")
            else:
                yield from validator.descend(value[name], additional, path=name)


def _multiple_of(validator: Any, divisor: float, value: object, schema: Any) -> Iterator[Any]:  # noqa: ANN401, ARG001
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = as_decimal(value)
        # Exact for any exponents, unlike decimals.
        if number is None or Fraction(number) % Fraction(repr(divisor)):
            yield _error(f"{value} is not a multiple of {divisor}")


def _unique_items(validator: Any, wanted: bool, value: object, schema: Any) -> Iterator[Any]:  # noqa: ANN401, ARG001
    if wanted and isinstance(value, list) and len(set(map(_hashable, value))) < len(value):
        yield _error("the list has an item twice")


def _hashable(value: JsonValue) -> tuple[str, object]:
    """Return what is equal, with an equal hash, for values that are equal in JSON."""
    match value:
        case dict():
            return "object", frozenset((name, _hashable(member)) for name, member in value.items())
        case list():
            return "list", tuple(map(_hashable, value))
        case bool() | None:
            return "constant", value
        case _:
            return type(value).__name__.replace("int", "float"), value


def _error(message: str) -> Any:  # noqa: ANN401
    from jsonschema.exceptions import ValidationError

    return ValidationError(message)


class JsonFields(BuiltIn):
    """The share of the expected output's fields that the output has, with equal values.

    Fields are the innermost members of objects, such as `address.city`; a list is one value. Types count: `"1"` is not
    1, and a missing field is not null.
    """

    evaluator: ClassVar[str] = "json_fields"
    main_option: ClassVar[str | None] = "fields"

    fields: Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] | None = (
        Field(default=None, min_length=1)
    )
    """Paths of the fields to compare; defaults to all."""
    tolerance: float = Field(default=0.0, ge=0)
    """Absolute, of numbers."""
    ignore_order: bool = False
    """Whether lists may have any order."""
    extra: Literal["ignore", "wrong"] = "ignore"
    """Whether fields that only the output has count as wrong."""

    @property
    def scale(self) -> str | None:
        """See `BuiltIn`."""
        return "0-1"

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        expected = _reference(require(expected_output))
        try:
            given = _composed(parse_text(output) if isinstance(output, str) else output)
        except ValueError as error:
            return self.evaluation(0.0, f"The output is not JSON: {error}.")
        pairs = [pair for field in self._chosen(expected, given) for pair in field.pairs()]
        if not pairs:
            raise UnscoredError("The expected_output has no fields.")
        wrong = [pair for pair in pairs if not self._is_right(pair)]
        extra = [] if self.fields else _Field("", expected, given).extra()
        total = len(pairs) + (len(extra) if self.extra == "wrong" else 0)
        comments = [f"{pair.name or 'the value'}: {pair.shown}" for pair in wrong[:MAX_NAMED]]
        comments += [f"only in the output: {', '.join(extra[:MAX_NAMED])}"] if extra else []
        return self.evaluation((len(pairs) - len(wrong)) / total, "; ".join(comments)[:MAX_COMMENT_CHARS] or None)

    def _chosen(self, expected: JsonValue, given: JsonValue) -> list["_Field"]:
        if self.fields is None:
            return [_Field("", expected, given)] if expected else []
        fields = []
        for path in dict.fromkeys(self.fields):
            value = lookup(expected, path)
            if isinstance(value, Missing):
                raise UnscoredError(f"The expected_output has no field {path!r}.")
            fields.append(_Field(path, value, lookup(given, path)))
        return fields

    def _is_right(self, field: "_Field") -> bool:
        expected, given = field.expected, field.given
        if isinstance(given, Missing):
            return False
        if self.tolerance and all(isinstance(each, int | float) for each in (expected, given)):
            one, other = read_number(given), read_number(expected)
            if isinstance(one, Number) and isinstance(other, Number):
                return within(one.value, other.value, self.tolerance, 0.0)
        return equal(given, expected, ignore_order=self.ignore_order)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field as it is expected and as it is given."""

    name: str
    expected: JsonValue
    given: JsonValue | Missing

    @property
    def shown(self) -> str:
        given = "missing" if isinstance(self.given, Missing) else show(self.given)
        return f"{given} where {show(self.expected)} is expected"

    def pairs(self) -> "Iterator[_Field]":
        """Yield the innermost fields that are expected."""
        if not (isinstance(self.expected, dict) and self.expected):
            yield self
            return
        for name, member in self.expected.items():
            given = self.given.get(name, MISSING) if isinstance(self.given, dict) else MISSING
            yield from _Field(self._path(name), member, given).pairs()

    def extra(self) -> list[str]:
        """Return the paths that only the output has."""
        if not (isinstance(self.expected, dict) and isinstance(self.given, dict)):
            return []
        found = [self._path(name) for name in self.given if name not in self.expected]
        shared = (name for name in self.given if name in self.expected)
        inner = (_Field(self._path(name), self.expected[name], self.given[name]).extra() for name in shared)
        return [*found, *(path for paths in inner for path in paths)]

    def _path(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


def _reference(expected: JsonValue) -> JsonValue:
    """Return an expected output that has fields."""
    value = expected
    if isinstance(expected, str):
        with suppress(ValueError):
            value = parse_text(expected)
    if not isinstance(value, list | dict):
        raise UnscoredError(f"The expected_output is {kind_of(value)}, not an object or list.")
    return _composed(value)


def _composed(value: JsonValue) -> JsonValue:
    """Return a value with all its texts and names in NFC."""
    match value:
        case str():
            return unicodedata.normalize("NFC", value)
        case list():
            return [_composed(member) for member in value]
        case dict():
            return {unicodedata.normalize("NFC", name): _composed(member) for name, member in value.items()}
        case _:
            return value
