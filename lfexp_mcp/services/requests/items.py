"""The argument `items`: how a caller chooses a part of a dataset."""

import json
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, JsonValue, PlainSerializer, TypeAdapter, ValidationError, WithJsonSchema

from lfexp_mcp.model import ItemChoice

_OBJECT: TypeAdapter[ItemChoice] = TypeAdapter(ItemChoice)
_WHOLE = frozenset({"all", "*"})
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_CONDITION = re.compile(r"[=<>!]|\sin\s*[\[(]|\sin\s", re.IGNORECASE)
_NOT_A_NUMBER = "a sample is a whole number of items, 1 or more"


def parse_choice(given: object) -> ItemChoice | None:
    """Read a choice as callers write it; see `ItemsArgument`.

    Raises:
        ValueError: It is none; the message says why.
    """
    match given:
        case None | ItemChoice():
            return given
        case bool():
            raise ValueError(f"{str(given).lower()} chooses nothing: {_NOT_A_NUMBER}")
        case int() | float():
            if not given >= 1 or (isinstance(given, float) and not given.is_integer()):
                raise ValueError(f"{given} chooses nothing: {_NOT_A_NUMBER}")
            return ItemChoice(sample=int(given))
        case str():
            return _parse_text(given.strip())
        case list() | tuple():
            return _checked(ItemChoice(ids=_ids(given)))
        case dict():
            return _parse_object(given)
        case _:
            raise ValueError("pass a number, a list of ids, a condition, or an object")


def _parse_text(text: str) -> ItemChoice | None:
    if not text:
        raise ValueError("an empty text chooses nothing; omit `items` for the whole dataset")
    if text.casefold() in _WHOLE:
        return ItemChoice()
    if _NUMBER.fullmatch(text):
        return parse_choice(float(text))
    if text.startswith(("{", "[")):
        try:
            return parse_choice(json.loads(text))
        except (json.JSONDecodeError, RecursionError):
            raise ValueError("it looks like JSON but cannot be parsed") from None
    if is_condition(text):
        return _checked(ItemChoice(where=text))
    return _checked(ItemChoice(ids=_ids([part.strip() for part in text.split(",")])))


def is_condition(text: str) -> bool:
    """Whether a text is meant as a condition on metadata."""
    return _CONDITION.search(text) is not None


def _parse_object(given: dict[object, object]) -> ItemChoice:
    ids = given.get("ids")
    listed = {"ids": _ids(ids)} if isinstance(ids, list) else {}
    try:
        choice = _OBJECT.validate_python({**given, **listed})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        keys = ", ".join(ItemChoice.__slots__)
        raise ValueError(f"{name}: {first['msg']} (the keys are {keys})") from None
    if choice.is_whole:
        raise ValueError("an empty object chooses nothing; omit `items` for the whole dataset")
    return _checked(choice)


def _ids(given: Sequence[object]) -> tuple[str, ...]:
    if not given:
        raise ValueError("an empty list of ids chooses nothing")
    ids = tuple(dict.fromkeys(each for each in given if isinstance(each, str) and each))
    wrong = next((place for place, each in enumerate(given) if not isinstance(each, str) or not each), None)
    if wrong is not None:
        raise ValueError(f"member {wrong} of the list is not an id: ids are texts")
    return ids


def _checked(choice: ItemChoice) -> ItemChoice:
    """Check what the parts of a choice need of one another."""
    if choice.where is not None:
        from lfexp_mcp.services.metadata_conditions import parse_conditions

        parse_conditions(choice.where)
    if choice.run is None and (choice.which or choice.score is not None or choice.below is not None):
        raise ValueError("which, score and below are about another run: name it as `run`")
    if choice.run is not None and (choice.which is None) is (choice.below is None):
        raise ValueError("say which items of the run: `which` (failed or errored), or `below` a limit")
    if choice.which == "errored" and choice.score is not None:
        raise ValueError("a task errors whatever the score: omit `score`, or pass which `failed`")
    if choice.below is not None:
        from lfexp_mcp.scores.limits import parse_limit

        if not parse_limit(str(choice.below)).value > 0:
            raise ValueError(f"no score lies below {choice.below}")
    return choice


def as_argument(choice: ItemChoice | None) -> JsonValue:
    """Write a choice as a caller would."""
    if choice is None:
        return None
    given = {name: value for name in ItemChoice.__slots__ if (value := getattr(choice, name)) not in (None, ())}
    match given:
        case {} if not given:
            return "all"
        case {"sample": int(sample)} if len(given) == 1:
            return sample
        case {"ids": tuple(ids)} if len(given) == 1:
            return list(ids)
        case {"where": str(where)} if len(given) == 1:
            return where
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


ItemsArgument = Annotated[
    ItemChoice | None,
    BeforeValidator(parse_choice),
    PlainSerializer(as_argument),
    WithJsonSchema({"anyOf": [{"type": name} for name in ("integer", "string", "array", "object", "null")]}),
]
"""A number for a sample, ids, a condition on metadata, `all`, or an object with the fields of `ItemChoice`."""
