"""First version: the total is the first number on the line."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langfuse.api import DatasetItem

NUMBER = re.compile(r"\d[\d.,]*\d|\d")


def task(*, item: "DatasetItem", **_kwargs: object) -> float | None:
    """Read the total off one line of a receipt."""
    found = NUMBER.search(item.input)
    return amount(found.group()) if found else None


def amount(text: str) -> float:
    """Turn `1,234.50`, `1.234,50` or `12` into a number: a separator before the last two digits is the decimal one."""
    digits = re.sub(r"\D", "", text)
    return int(digits) / 100 if re.search(r"[.,]\d\d$", text) else float(digits)
