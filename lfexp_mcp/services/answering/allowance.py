"""Answers that fit into an agent's context: cut texts state their length, short lists their total."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, JsonValue

Detail = Literal["summary", "full"]
TOKENS = 8_000
"""What a default answer may cost, its text part included."""
TEXT = 1_500
"""What its text part, which says some of the structured part again, is left."""
_WHOLE = 1_000_000_000

A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much an answer may show."""

    text: int
    """Characters of one text."""
    rows: int
    """Entries of one list."""

    @classmethod
    def whole(cls, rows: int) -> "Allowance":
        """Let everything through."""
        return cls(_WHOLE, rows)

    def cut(self, value: JsonValue) -> JsonValue:
        """Shorten a value; one that is no text becomes its JSON where that is too long."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return value if len(text) <= self.text else self.cut_text(text)

    def cut_text(self, text: str) -> str:
        """Shorten a text, saying how long it is."""
        return text if len(text) <= self.text else f"{text[: self.text]}… [cut; {len(text):,} characters in all]"

    def cut_note(self, text: str | None) -> str | None:
        """Shorten a text that may be missing."""
        return None if text is None else self.cut_text(text)


_STEPS = ((2000, 1.0), (600, 1.0), (300, 1.0), (150, 1.0), (150, 0.5), (80, 0.5), (80, 0.2), (40, 0.1))


def tokens(answer: BaseModel) -> int:
    """Estimate an answer's cost: a token per 3.5 plain characters of its JSON, one per character of other scripts."""
    text = answer.model_dump_json()
    plain = sum(character.isascii() for character in text)
    return math.ceil(plain / 3.5) + len(text) - plain


def fit(build: Callable[[Allowance], A], rows: int, detail: Detail, budget: int = TOKENS - TEXT) -> A:
    """Build the most generous answer that stays within the budget.

    Args:
        build: Makes the answer within an allowance.
        rows: Entries asked for per list.
        detail: `full` shows `rows` entries with whole texts, whatever that costs.
        budget: Tokens that the answer may cost.
    """
    if detail == "full":
        return build(Allowance.whole(rows))
    allowances = [Allowance(text, max(1, math.ceil(rows * share))) for text, share in _STEPS]
    fitting = (answer for allowance in allowances if tokens(answer := build(allowance)) <= budget)
    return next(fitting, None) or build(allowances[-1])
