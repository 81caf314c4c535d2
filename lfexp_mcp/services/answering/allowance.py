"""Answers that fit into an agent's context: cut texts state their length, short lists their total."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import JsonValue

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.services.answering.ceiling import cut_text, cut_value, tokens, within

Detail = Literal["summary", "full"]
TOKENS = 8_000
"""What a default answer may cost, its text part included."""
TEXT = 1_500
"""What its text part, which says some of the structured part again, is left."""
FULL_TOKENS = 20_000
"""What an answer with detail `full` may cost, its text part included."""
BUDGETS: dict[Detail, int] = {"summary": TOKENS - TEXT, "full": 14_000}
"""What the structured part may cost."""
WHOLE_ITEM_TOKENS = 9_500
"""What the structured part may cost of an item asked for whole, of which the text part says all again."""
_WHOLE = 1_000_000_000

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much an answer may show."""

    text: int
    """Characters of one text."""
    rows: int
    """Entries of one list."""

    def cut(self, value: JsonValue) -> JsonValue:
        """Shorten a value; one that is no text becomes its JSON where that is too long."""
        return cut_value(value, self.text)

    def cut_text(self, text: str) -> str:
        """Shorten a text, saying how long it is."""
        return cut_text(text, self.text)

    def cut_note(self, text: str | None) -> str | None:
        """Shorten a text that may be missing."""
        return None if text is None else self.cut_text(text)


_TEXTS: dict[Detail, tuple[int, ...]] = {
    "summary": (2000, 600, 300, 150, 80, 40),
    "full": (_WHOLE, 20_000, 10_000, 5_000, 2_000, 600, 300, 150, 80, 40),
}
_KEPT: dict[Detail, int] = {"summary": 150, "full": _WHOLE}
"""Characters of a text that stay at the cost of further rows."""
_CUT = 150
"""Characters of a text where what is beside the texts is too much by itself."""
FEW = 5
"""Rows for which what is beside the texts is cut."""


def fit(build: Callable[[Allowance], A], rows: int, detail: Detail, budget: int | None = None) -> A:
    """Build the answer with the most rows, and then the longest texts, that stays within the budget.

    More rows asked for are never fewer rows shown. With detail `full`, texts are cut only where a single row is too
    long, so that a page holds fewer rows.

    Args:
        build: Makes the answer within an allowance.
        rows: Entries asked for per list.
        detail: What to give up first.
        budget: Tokens that the structured answer may cost; those of `detail` unless given.
    """
    most = BUDGETS[detail] if budget is None else budget

    def fits(text: int, count: int) -> bool:
        return tokens(build(Allowance(text, count))) <= most

    kept = _KEPT[detail]
    if fits(kept, 1):
        count = _largest(rows, lambda count: fits(kept, count))
        text = next((text for text in _TEXTS[detail] if text > kept and fits(text, count)), kept)
        return build(Allowance(text, count))
    shorter = next((text for text in _TEXTS[detail] if text < kept and fits(text, 1)), None)
    if shorter is not None:
        return build(Allowance(shorter, 1))
    few = within(build(Allowance(_CUT, min(rows, FEW))), most)
    return few if tokens(few) <= most else within(build(Allowance(_CUT, 1)), most)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `most` that fits, where 1 does and all below one that fits do."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
