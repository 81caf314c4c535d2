"""Read what was stated as the score, as a value of the judge's scale."""

import math

from pydantic import JsonValue

from lfexp_mcp.judges.reply.labels import leading_label, read_label
from lfexp_mcp.judges.reply.numbers import OwnScale, leading_number, read_number
from lfexp_mcp.model import Scale

Value = float | bool | str
"""A number on the judge's scale (perhaps outside it), a bool for a BOOLEAN scale, a label for a CATEGORICAL one."""


def read_value(stated: JsonValue, scale: Scale, own: OwnScale | None = None) -> Value | None:
    """Read a value that was stated as the score, alone; None where it is none of the scale's.

    Args:
        stated: The value.
        scale: The judge's scale.
        own: The scale that the reply names for it.
    """
    if isinstance(stated, str):
        return read_number(stated, scale, own) if scale.kind == "NUMERIC" else read_label(stated, scale)
    if isinstance(stated, bool):
        return stated if scale.kind == "BOOLEAN" else None
    if not isinstance(stated, int | float) or not math.isfinite(stated):
        return None
    match scale.kind:
        case "NUMERIC":
            return own.convert(float(stated), scale) if own else float(stated)
        case "BOOLEAN":
            return bool(stated) if stated in {0, 1} else None
        case "CATEGORICAL":
            return _label_worth(stated, scale)


def leading_value(text: str, scale: Scale, own: OwnScale | None = None) -> Value | None:
    """Read the value that a text consists of, or begins with if nothing but a remark follows it."""
    whole = read_value(text, scale, own)
    if whole is not None:
        return whole
    return leading_number(text, scale, own) if scale.kind == "NUMERIC" else leading_label(text, scale)


def _label_worth(number: float, scale: Scale) -> str | None:
    worth = [category.label for category in scale.categories if category.value == number]
    return worth[0] if len(worth) == 1 else read_as_text(number, scale)


def read_as_text(number: float, scale: Scale) -> str | None:
    """Read a number as the label that it is written like, such as 3 where the labels are `1` to `5`."""
    category = scale.category(f"{number:g}")
    return category.label if category else None
