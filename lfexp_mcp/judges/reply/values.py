r"""Read a stated score as a value of the judge's scale: `8`, `7,5`, `8 points`, `4 out of 5`, `85%`, `★★★★☆`, `FAIL`.

A number may bring a scale of its own. With the judge's own upper end, `8/10` on 0-10 and `4/5` on 1-5 are the number
itself. Any other `n/d`, and `n%`, is a share of the width of the judge's scale: `4/5` is 8 on 0-10, `20%` is 1.8 on
1-5. So is a number on a range of its own: `4 (on a scale of 1-5)` is 7.5 on 0-10.
"""

import re
import unicodedata
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.model import Scale
from lfexp_mcp.strict_json import finite_number

Value = float | bool | str
"""A number on the judge's scale (perhaps outside it), a bool on a BOOLEAN scale, a label on a CATEGORICAL one."""

_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# Adjacent quantifiers are possessive, so that no reply can make a match take long.
_AMOUNT = (
    r"[+\u2212-]?+(?:\d{1,6},\d{1,2}(?![\d,])|0,\d{1,15}(?!\d)|\d{1,15}+(?:\.\d{1,15}+)?|\.\d{1,15}+)(?:e[+-]?\d{1,2})?+"
    rf"|(?:{'|'.join(_DIGIT_WORDS)})\b"
)
_UNIT = (
    r"(?:points?|pts\b\.?|marks?|punkten?|puntos?|pontos?|punti|балл(?:ов|а)?|分|点|점"  # noqa: RUF001
    r"|(?P<star{n}>stars?|[★⭐]\ufe0f?))"
)
_OF = (
    r"(?:/|\u2044|out\s++of(?:\s++an?\s++(?:possible|maximum|total)(?:\s++of)?)?|of|von|sur|de|su|из"
    r"|max(?:imum)?\.?:?)"
)
_WHOLE = r"(?:\d{1,6}(?:[.,]\d{1,6})?|ten|five)"
_END = r"[+\u2212-]?\d{1,4}(?:\.\d{1,4})?"
_RANGE = rf"(?P<low{{n}}>{_END})\s*+(?:[-\u2013\u2014]|to|\.\.)\s*+(?P<high{{n}}>{_END})"


def _use(pattern: str, number: int) -> str:
    """Name the groups of a pattern that occurs several times in another one."""
    return pattern.replace("{n}", str(number))


_NUMBER = re.compile(
    r"(?:(?:[~≈]|(?:about|around|approximately|approx\.?|roughly|circa|an?)\s)\s*+)?"
    rf"(?P<number>{_AMOUNT})(?:\s*+{_use(_UNIT, 1)})?"
    r"(?:\s*+(?P<percent>%|percent\b|per\s++cent\b)"
    rf"|\s*+[(\[]?\s*+{_OF}\s*+(?P<whole>{_WHOLE})(?:\s*+{_use(_UNIT, 2)})?(?:\s*+[)\]])?"
    rf"|\s*+\((?:on\s++)?(?:an?\s++|the\s++)?(?:scale\s*+(?:of|from|:)?\s*+)?{_use(_RANGE, 1)}(?:\s++scale)?(?:\)|$)"
    rf"|,?\s++on\s++(?:an?|the)\s++(?:scale\s++(?:of|from)\s++)?{_use(_RANGE, 2)}(?:\s++scale)?)?",
    re.IGNORECASE,
)
_STARS = re.compile(r"((?:[★⭐🌟]\ufe0f?\s?)++)((?:[☆✩✰]\ufe0f?\s?)*+)")
_REMARK = re.compile(
    r"[\"')\]}\u201d]*+\s*+(?:$|[.;!:](?=\s|$)|,(?=\s++\D)|\(|-\s++(?=\D)|[\u2013\u2014]\s*+(?=\D)|\|\D*+$"
    r"|(?:because|since|as|due|given|for|overall|with)\b)"
)
_HEDGE = re.compile(r"\W*+(?:or|maybe|perhaps|possibly|could|if|unless|to|at)\b", re.IGNORECASE)
_MARKUP = re.compile(r"\\(?:boxed|text|textbf|mathbf)\{([^{}\n]{0,60})\}|[*_`$]++")
_OWN_RANGE = re.compile(
    rf"\bscale\s*+(?:of|from|:|=)?\s*+{_use(_RANGE, 1)}|{_use(_RANGE, 2)}[\s-]++(?:point\s++)?scale"
    rf"|^\W*+{_use(_RANGE, 3)}\W*+$",
    re.IGNORECASE,
)
_OWN_HIGH = re.compile(
    r"\b(?P<points>\d{1,3})[\s-]points?\s++scale"
    r"|^\W*+(?:out\s++of|of|/|max(?:imum)?\.?:?)?\s*+(?P<alone>\d{1,6}(?:\.\d{1,6})?)(?:[\s-]++points?)?\W*+$"
    r"|^\W*+out\s++of\s++(?P<opening>\d{1,6}(?:\.\d{1,6})?)(?:\s++points)?,",
    re.IGNORECASE,
)
BARE_NUMBER = re.compile(rf"\W*(?:\d+(?:[.,]\d+)?|{'|'.join(_DIGIT_WORDS)})\W*", re.IGNORECASE)
"""A line that is a number and nothing else."""

_BRACKETS = " \t\r\n\"'[](){}\u201c\u201d\u2018\u2019"
_DECORATION = _BRACKETS + "*_`$"
_TRUE = frozenset(
    "true pass passed passes yes bestanden ja aprobado sí sim oui réussi да 通过 合格 是 はい".split()  # noqa: SIM905
)
_FALSE = frozenset(
    "false fail failed fails no durchgefallen nein suspenso non échoué échec нет 不通过 不合格 否 いいえ".split()  # noqa: SIM905
)
_NOT = re.compile(r"(?:(?:does|do|did|is|was)(?:\s++not|n['\u2019]t)|not|nicht)\s++(?:an?\s++)?(.+)", re.IGNORECASE)
_SUBJECT = re.compile(r"\A(?:the|this)\s++(?:output|answer|response|reply|submission)\s++", re.IGNORECASE)
_CHECK = re.compile("[✅✔👍]")
_CROSS = re.compile("[❌✗✘👎]")
_LABEL = re.compile(
    r"[^\W_][\w@'\u2019-]*(?: [\w@'\u2019-]+){0,3}?"
    r"(?=[*_`\"')\]]*\s*(?:$|[.!;](?=\s|$)|,(?=\s)|\(|:|\s[-\u2013\u2014]\s|[\u2013\u2014]|\|\W*$"
    r"|\s(?:because|since|as|despite|although|though|with)\b))"
)
_LABEL_HEDGE = re.compile(r"\W*+(?:or|maybe|perhaps|possibly|if|unless)\b", re.IGNORECASE)
_LABEL_REMARK = re.compile(r"[*_`\"')\]]*+(?:(?P<set_apart>\s*+:|\s++[-\u2013\u2014]\s|[\u2013\u2014])|[.!,;]?\s|$)")


@dataclass(frozen=True, slots=True)
class OwnScale:
    """A scale that the reply itself names for its number."""

    low: float | None
    """None if only the upper end is named."""
    high: float

    def convert(self, number: float, scale: Scale) -> float | None:
        """Return the number on the judge's scale, perhaps outside it; None if this is not a scale."""
        if self.high == scale.high and self.low in {None, scale.low}:
            return number
        low = self.low or 0.0
        if self.high <= low:
            return None
        return scale.low + (number - low) / (self.high - low) * (scale.high - scale.low)


def read_value(stated: JsonValue, scale: Scale, own: OwnScale | None = None) -> Value | None:
    """Read a value that is nothing but the score; None if the scale has no such value.

    Args:
        own: The scale that the reply names for it elsewhere; a scale within `stated` wins.
    """
    if isinstance(stated, str):
        return _whole_number(stated, scale, own) if scale.kind == "NUMERIC" else _whole_label(stated, scale)
    if isinstance(stated, bool):
        return stated if scale.kind == "BOOLEAN" else None
    number = finite_number(stated)
    if number is None:
        return None
    if scale.kind == "NUMERIC":
        return own.convert(number, scale) if own else number
    if scale.kind == "BOOLEAN":
        return bool(number) if number in {0, 1} else None
    worth = [category.label for category in scale.categories if category.value == number]
    if len(worth) == 1:
        return worth[0]
    category = scale.category(f"{number:g}")
    return category.label if category else None


def leading_value(text: str, scale: Scale, own: OwnScale | None) -> Value | None:
    """Read the value that a text consists of, or begins with if only a remark follows."""
    whole = read_value(text, scale, own)
    if whole is not None:
        return whole
    return leading_number(text, scale, own) if scale.kind == "NUMERIC" else leading_label(text, scale)


def leading_number(text: str, scale: Scale, own: OwnScale | None = None) -> float | None:
    """Read the number that a text begins with, if only a remark follows."""
    bare = _MARKUP.sub(r"\1", text).strip(_BRACKETS)
    match = _STARS.match(bare) or _NUMBER.match(bare)
    if match is None or not _REMARK.match(bare, match.end()) or _HEDGE.match(bare, match.end()):
        return None
    return _convert(match, scale, own)


def leading_label(text: str, scale: Scale, *, own_only: bool = False) -> bool | str | None:
    """Read the label that a text begins with, if only a remark follows.

    Args:
        own_only: Accept only the scale's own labels, spelled exactly unless a colon or dash sets them apart: without a
            word such as "Verdict" before it, "No. The answer ..." is not a verdict.
    """
    stripped = _without_symbols(text)
    label = _LABEL.match(stripped)
    if label is None or _LABEL_HEDGE.match(stripped, label.end()):
        return None
    if own_only:
        remark = _LABEL_REMARK.match(stripped, label.end())
        exact = any(label[0] == category.label for category in scale.categories)
        if remark is None or not (exact or (remark["set_apart"] and scale.category(label[0]))):
            return None
    # With the symbols before it, which may contradict it.
    return _whole_label(text[: text.find(label[0])] + label[0], scale)


def own_scale_in(text: str) -> OwnScale | None:
    """Find the scale that a text names, such as `a scale of 1 to 5`, `1-5`, `out of 5` or `Out of 5, ...`."""
    if match := _OWN_RANGE.search(text):
        low, high = next((match[f"low{n}"], match[f"high{n}"]) for n in "123" if match[f"low{n}"])
        return OwnScale(_float(low), _float(high))
    match = _OWN_HIGH.search(text)
    return OwnScale(None, float(match["points"] or match["alone"] or match["opening"])) if match else None


def numbers_in(text: str) -> list[re.Match[str]]:
    """Find all numbers in a text, each with its denominator."""
    return list(_NUMBER.finditer(_MARKUP.sub(r"\1", text)))


def _whole_number(text: str, scale: Scale, own: OwnScale | None) -> float | None:
    bare = _MARKUP.sub(r"\1", text).strip(_BRACKETS).rstrip(".!" if text.rstrip().endswith("!") else ".")
    match = _STARS.fullmatch(bare) or _NUMBER.fullmatch(bare)
    return _convert(match, scale, own) if match else None


def _convert(match: re.Match[str], scale: Scale, own: OwnScale | None) -> float | None:
    """Return the number of a match of `_STARS` or `_NUMBER` on the judge's scale."""
    if match.re is _STARS:
        filled, empty = (sum(character in "★⭐🌟☆✩✰" for character in part) for part in match.groups())
        if empty or filled == 5:
            return OwnScale(None, filled + empty).convert(filled, scale)
        return float(filled) if filled <= 5 == scale.high else None
    number = _float(match["number"])
    if low := match["low1"] or match["low2"]:
        own = OwnScale(_float(low), _float(match["high1"] or match["high2"]))
    if match["percent"]:
        own = OwnScale(None, 100.0)
    elif match["whole"]:
        own = OwnScale(None, _float(match["whole"]))
    elif match["star1"] and own is None and number <= 5 != scale.high:
        # Stars are usually out of five, so these may mean either.
        return None
    return own.convert(number, scale) if own else number


def _float(text: str) -> float:
    word = text.lower()
    if word in _DIGIT_WORDS:
        return float(_DIGIT_WORDS.index(word))
    return float(word.replace(",", ".").replace("\u2212", "-"))


def _whole_label(text: str, scale: Scale) -> bool | str | None:
    plain = _without_symbols(text)
    word = plain.rstrip(".!").strip(_DECORATION)
    if scale.kind == "CATEGORICAL":
        category = scale.category(text) or scale.category(plain) or scale.category(word)
        return category.label if category else None
    true, false = (category.label.casefold() for category in scale.categories)
    word = _SUBJECT.sub("", word, count=1).casefold()
    checked, crossed = _CHECK.search(text) is not None, _CROSS.search(text) is not None
    if word in _TRUE | {true, "1"}:
        return None if crossed else True
    if word in _FALSE | {false, "0"}:
        return None if checked else False
    if not word and checked != crossed:
        return checked
    # "Not failed" does not mean passed.
    negated = _NOT.fullmatch(word)
    return False if negated and negated[1] in _TRUE | {true} else None


def _without_symbols(text: str) -> str:
    """Strip what decorates a label: markup, quotation marks, and symbols such as a check mark."""
    stripped = text.strip(_DECORATION)
    while stripped and unicodedata.category(stripped[0]) in {"So", "Mn", "Sk"}:
        stripped = stripped[1:].lstrip(_DECORATION)
    while stripped and unicodedata.category(stripped[-1]) in {"So", "Mn", "Sk"}:
        stripped = stripped[:-1].rstrip(_DECORATION)
    return stripped
