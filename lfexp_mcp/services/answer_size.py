"""Keeping answers small enough for an agent's context: long texts and lists are cut, and the answer says so."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, JsonValue

from lfexp_mcp.answers.base import Answer

Detail = Literal["summary", "full"]
MAX_TOKENS = 8_000
"""Budget of a default answer, its text part included."""
MAX_FULL_TOKENS = 20_000
"""Budget of an answer with detail `full`, its text part included."""
MAX_STRUCTURED_TOKENS: dict[Detail, int] = {"summary": 6_500, "full": 14_000}
"""Budget of the structured part; the text part, which repeats some of it, gets the rest."""
MAX_WHOLE_ITEM_TOKENS = 9_500
"""Budget of the structured part of a single item shown whole; the text part repeats all of it."""
MAX_NAME_CHARS = 500
"""Names, ids and links are not cut below this length: part of one is of no use."""
MAX_KEY_CHARS = 200
"""Entries of a dict with a longer key are dropped where entries are."""

_UNCUT = 1_000_000_000
_TEXT_CHARS: dict[Detail, tuple[int, ...]] = {
    "summary": (2000, 600, 300, 150, 80, 40),
    "full": (_UNCUT, 20_000, 10_000, 5_000, 2_000, 600, 300, 150, 80, 40),
}
_MIN_TEXT_CHARS: dict[Detail, int] = {"summary": 150, "full": _UNCUT}
"""Texts are cut below this length only where a single row would not fit; before, rows are dropped."""
_CUT_TEXT_CHARS = 150
_CUT_ROWS = 5
"""Size of an answer that is then cut further, if not even one row with the shortest texts fits."""
_NAME_FIELDS = ("_id", "_url", "url", "_cursor", "name", "dataset", "run", "score", "judge", "log", "baseline", "page")
_CUTS = ((2000, 100), (1000, 50), (600, 25), (300, 10), (300, 5), (200, 2))
"""Characters of a text and entries of a list, the most generous first."""

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class AnswerSize:
    """How much an answer may show."""

    text_chars: int
    """Characters of one text."""
    rows: int
    """Entries of one list."""

    def truncate(self, value: JsonValue) -> JsonValue:
        """Shorten a value; a long one that is not a text becomes its truncated JSON."""
        return truncate_value(value, self.text_chars)

    def truncate_text(self, text: str) -> str:
        """Shorten a text, stating its full length."""
        return truncate_text(text, self.text_chars)

    def truncate_optional(self, text: str | None) -> str | None:
        """Shorten a text that may be missing."""
        return None if text is None else self.truncate_text(text)


def fit(
    build: Callable[[AnswerSize], A],
    rows: int,
    detail: Detail,
    max_tokens: int | None = None,
    min_text_chars: int | None = None,
) -> A:
    """Build the answer with the most rows, then the longest texts, that stays within the budget.

    Asking for more rows never shows fewer. With detail `full`, texts are cut only where a single row is too long, so a
    page holds fewer rows instead.

    Args:
        build: Makes the answer at a given size.
        rows: Entries asked for per list.
        detail: Which texts to cut, and the budget.
        max_tokens: Budget of the structured answer; that of `detail` by default.
        min_text_chars: Characters to which texts are cut before rows are dropped; those of `detail` by default.
    """
    budget = MAX_STRUCTURED_TOKENS[detail] if max_tokens is None else max_tokens

    def fits(text_chars: int, count: int) -> bool:
        return estimate_tokens(build(AnswerSize(text_chars, count))) <= budget

    shortest = _MIN_TEXT_CHARS[detail] if min_text_chars is None else min_text_chars
    if fits(shortest, 1):
        count = _largest(rows, lambda count: fits(shortest, count))
        longer = (chars for chars in _TEXT_CHARS[detail] if chars > shortest and fits(chars, count))
        return build(AnswerSize(next(longer, shortest), count))
    shorter = next((chars for chars in _TEXT_CHARS[detail] if chars < shortest and fits(chars, 1)), None)
    if shorter is not None:
        return build(AnswerSize(shorter, 1))
    cut = truncate_answer(build(AnswerSize(_CUT_TEXT_CHARS, min(rows, _CUT_ROWS))), budget)
    if estimate_tokens(cut) <= budget:
        return cut
    return truncate_answer(build(AnswerSize(_CUT_TEXT_CHARS, 1)), budget)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `most` that fits; 1 does, and so does all below one that fits."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def estimate_tokens(answer: BaseModel) -> int:
    """Estimate an answer's tokens: one per 3.5 ASCII characters of its JSON, one per character of other scripts."""
    text = answer.model_dump_json()
    ascii_chars = len(text.encode("ascii", "ignore"))
    return math.ceil(ascii_chars / 3.5) + len(text) - ascii_chars


def truncate_answer(answer: A, max_tokens: int) -> A:
    """Cut an answer as far as needed to stay within a budget, whatever it holds, and add a warning of what was cut.

    Paged lists keep their length, since their cursor says where the next page begins; next steps stay whole.
    """
    if estimate_tokens(answer) <= max_tokens:
        return answer
    cut = answer
    for text_chars, entries in _CUTS:
        cut = _Truncation(text_chars, entries).answer(answer)
        if estimate_tokens(cut) <= max_tokens:
            return cut
    return cut


def truncate_text(text: str, max_chars: int) -> str:
    """Shorten a text, stating its full length."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}… [cut; {len(text):,} characters in all]"


def truncate_value(value: JsonValue, max_chars: int) -> JsonValue:
    """Shorten a value; a long one that is not a text becomes its truncated JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= max_chars else truncate_text(text, max_chars)


class _Truncation:
    """Cuts one answer, counting what it drops of each list."""

    def __init__(self, text_chars: int, entries: int) -> None:
        self._text_chars = text_chars
        self._entries = entries
        self._dropped: dict[str, tuple[int, int]] = {}

    def answer(self, answer: A) -> A:
        answer = self._model(answer)
        warnings = getattr(answer, "warnings", None)
        if not self._dropped or not isinstance(warnings, list):
            return answer
        parts = ", ".join(f"{shown} of {total} {name}" for name, (shown, total) in self._dropped.items())
        warning = (
            f"Too long for one answer: it shows {parts}. "
            "Ask for less, such as one item_id or one score_name, to see more of it."
        )
        return answer.model_copy(update={"warnings": [*warnings, warning]})

    def _model(self, answer: A) -> A:
        changed = {
            name: self._json(value) if field.annotation == JsonValue else self._value(name, value, name in answer.paged)
            for name, field in type(answer).model_fields.items()
            if (value := getattr(answer, name)) is not None
        }
        return answer.model_copy(update=changed)

    def _value(self, name: str, value: object, paged: bool = False) -> object:
        if isinstance(value, Answer):
            return self._model(value)
        if isinstance(value, str):
            is_name = name.endswith(_NAME_FIELDS)
            return truncate_text(value, max(self._text_chars, MAX_NAME_CHARS) if is_name else self._text_chars)
        if isinstance(value, list):
            kept = value if paged else value[: self._entries]
            self._note(name, len(kept), len(value))
            return [self._value(name, each) for each in kept]
        if isinstance(value, dict):
            keys = [key for key in value if len(key) <= MAX_KEY_CHARS][: self._entries]
            self._note(name, len(keys), len(value))
            return {key: self._json(value[key]) for key in keys}
        return value

    def _json(self, value: JsonValue) -> JsonValue:
        return truncate_value(value, self._text_chars)

    def _note(self, name: str, shown: int, total: int) -> None:
        if shown < total and total > self._dropped.get(name, (0, 0))[1]:
            self._dropped[name] = shown, total
