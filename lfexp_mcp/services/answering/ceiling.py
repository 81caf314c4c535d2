"""The most that an answer may cost, whatever stands in it: long texts and lists are cut, and the answer says so."""

import json
import math
from typing import TypeVar

from pydantic import BaseModel, JsonValue

from lfexp_mcp.answers.base import Answer, NextStep

A = TypeVar("A", bound=Answer)

NAME = 500
"""Characters of a name, an id or a link that are never cut: a part of one names nothing."""
KEY = 200
"""Characters of a dict's key; an entry with a longer one is left out where entries are."""
_NAMES = ("_id", "_url", "url", "_cursor", "name", "dataset", "run", "score", "judge", "log", "baseline")
_LEVELS = ((2000, 100), (1000, 50), (600, 25), (300, 10), (300, 5), (200, 2))
"""Characters of a text and entries of a list, the most generous first."""


def tokens(answer: BaseModel) -> int:
    """Estimate an answer's cost: a token per 3.5 plain characters of its JSON, one per character of other scripts."""
    text = answer.model_dump_json()
    plain = len(text.encode("ascii", "ignore"))
    return math.ceil(plain / 3.5) + len(text) - plain


def within(answer: A, budget: int) -> A:
    """Cut an answer as far as it takes to stay within a budget of tokens.

    Pages of items keep their length, since their cursor says where the next one begins, and so do the calls proposed.
    """
    if tokens(answer) <= budget:
        return answer
    cut = answer
    for text, entries in _LEVELS:
        cut = _Cutter(text, entries).answer(answer)
        if tokens(cut) <= budget:
            return cut
    return cut


def cut_text(text: str, length: int) -> str:
    """Shorten a text, saying how long it is."""
    return text if len(text) <= length else f"{text[:length]}… [cut; {len(text):,} characters in all]"


def cut_value(value: JsonValue, length: int) -> JsonValue:
    """Shorten a value; one that is no text becomes its JSON where that is too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= length else cut_text(text, length)


class _Cutter:
    def __init__(self, text: int, entries: int) -> None:
        self._text = text
        self._entries = entries
        self._cut: dict[str, tuple[int, int]] = {}

    def model(self, answer: A) -> A:
        if isinstance(answer, NextStep):
            return answer
        changed = {
            name: self._json(value) if field.annotation == JsonValue else self._value(name, value, name in answer.paged)
            for name, field in type(answer).model_fields.items()
            if (value := getattr(answer, name)) is not None
        }
        return answer.model_copy(update=changed)

    def answer(self, answer: A) -> A:
        """Cut an answer, and say in its warnings what was left out."""
        answer = self.model(answer)
        warnings = getattr(answer, "warnings", None)
        if not self._cut or not isinstance(warnings, list):
            return answer
        parts = ", ".join(f"{shown} of {total} {name}" for name, (shown, total) in self._cut.items())
        advice = "Ask for less, such as one item_id or one score_name, to see more of it."
        return answer.model_copy(
            update={"warnings": [*warnings, f"Too long for one answer: it shows {parts}. {advice}"]}
        )

    def _value(self, name: str, value: object, paged: bool = False) -> object:
        if isinstance(value, Answer):
            return self.model(value)
        if isinstance(value, str):
            return cut_text(value, max(self._text, NAME) if name.endswith(_NAMES) else self._text)
        if isinstance(value, list):
            kept = value if paged else value[: self._entries]
            self._note(name, len(kept), len(value))
            return [self._value(name, each) for each in kept]
        if isinstance(value, dict):
            known = [key for key in value if len(key) <= KEY][: self._entries]
            self._note(name, len(known), len(value))
            return {key: self._json(value[key]) for key in known}
        return value

    def _json(self, value: JsonValue) -> JsonValue:
        return cut_value(value, self._text)

    def _note(self, name: str, shown: int, total: int) -> None:
        if shown < total and total > self._cut.get(name, (0, 0))[1]:
            self._cut[name] = shown, total
