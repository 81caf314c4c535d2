"""Second version: the total is what follows the word for it, else the last number on the line."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langfuse.api import DatasetItem

NUMBER = re.compile(r"\d[\d.,]*\d|\d")
LABEL = re.compile(r"total|amount due|to pay|summe|gesamt", re.IGNORECASE)


def task(*, item: "DatasetItem", **_kwargs: object) -> float | None:
    """Read the total off one line of a receipt."""
    label = LABEL.search(item.input)
    numbers = NUMBER.findall(item.input, label.end()) if label else NUMBER.findall(item.input)[-1:]
    return amount(numbers[0]) if numbers else None


def amount(text: str) -> float:
    """Turn `1,234.50` into a number."""
    return float(text.replace(",", ""))
