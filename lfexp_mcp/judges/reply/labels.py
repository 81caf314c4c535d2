"""Read a label as a reply states it: `PASS`, `Failed.`, `NOT PASS`, `FAIL - although parts pass`."""

import re
import unicodedata

from lfexp_mcp.model import Scale

_TRUE = frozenset(
    "true pass passed passes yes bestanden ja aprobado sí sim oui réussi да 通过 合格 是 はい".split()  # noqa: SIM905
)
_FALSE = frozenset(
    "false fail failed fails no durchgefallen nein suspenso non échoué échec нет 不通过 不合格 否 いいえ".split()  # noqa: SIM905
)
_NOT = re.compile(r"(?:(?:does|do|did|is|was)(?:\s++not|n['\u2019]t)|not|nicht)\s++(?:an?\s++)?(.+)", re.IGNORECASE)
_DECORATION = " \t\r\n*_`$\"'[](){}\u201c\u201d\u2018\u2019"
_CHECK = re.compile("[✅✔👍]")
_CROSS = re.compile("[❌✗✘👎]")
_RUN = re.compile(
    r"[^\W_][\w@'\u2019-]*(?: [\w@'\u2019-]+){0,3}?"
    r"(?=[*_`\"')\]]*\s*(?:$|[.!;](?=\s|$)|,(?=\s)|\(|:|\s[-\u2013\u2014]\s|[\u2013\u2014]|\|\W*$"
    r"|\s(?:because|since|as|despite|although|though|with)\b))"
)
_HEDGE = re.compile(r"\W*+(?:or|maybe|perhaps|possibly|if|unless)\b", re.IGNORECASE)
_REMARK = re.compile(r"[*_`\"')\]]*+(?:(?P<set_apart>\s*+:|\s++[-\u2013\u2014]\s|[\u2013\u2014])|[.!,;]?\s|$)")


def read_label(text: str, scale: Scale) -> bool | str | None:
    """Read a text that is nothing but a label of the scale; None where it is not."""
    return _truth(text, scale) if scale.kind == "BOOLEAN" else _category(text, scale)


def leading_label(text: str, scale: Scale, *, own_only: bool = False) -> bool | str | None:
    """Read the label that a text begins with, if nothing but a remark follows it.

    Args:
        text: What was stated.
        scale: The judge's scale.
        own_only: Whether only the scale's own labels count, as they are written unless a colon or dash sets them
            apart: without a word such as "Verdict" before it, "No. The answer ..." is no verdict.
    """
    stripped = _without_symbols(text)
    run = _RUN.match(stripped)
    if run is None or _HEDGE.match(stripped, run.end()):
        return None
    if own_only:
        remark = _REMARK.match(stripped, run.end())
        exact = any(run[0] == category.label for category in scale.categories)
        if remark is None or not (exact or (remark["set_apart"] and scale.category(run[0]))):
            return None
    # With the symbols before it, which may say the opposite.
    return read_label(text[: text.find(run[0])] + run[0], scale)


def _truth(text: str, scale: Scale) -> bool | None:
    true, false = (category.label.casefold() for category in scale.categories)
    word = _without_symbols(text).rstrip(".!").strip(_DECORATION).casefold()
    if word in _TRUE | {true, "1"}:
        return None if _CROSS.search(text) else True
    if word in _FALSE | {false, "0"}:
        return None if _CHECK.search(text) else False
    # What is not failed need not be passed.
    negated = _NOT.fullmatch(word)
    return False if negated and negated[1] in _TRUE | {true} else None


def _category(text: str, scale: Scale) -> str | None:
    plain = _without_symbols(text)
    category = scale.category(text) or scale.category(plain) or scale.category(plain.rstrip(".!").strip(_DECORATION))
    return category.label if category else None


def _without_symbols(text: str) -> str:
    """Strip what decorates a label: markup, quotation marks, and symbols such as a check mark."""
    stripped = text.strip(_DECORATION)
    while stripped and _is_symbol(stripped[0]):
        stripped = stripped[1:].lstrip(_DECORATION)
    while stripped and _is_symbol(stripped[-1]):
        stripped = stripped[:-1].rstrip(_DECORATION)
    return stripped


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) in {"So", "Mn", "Sk"}
