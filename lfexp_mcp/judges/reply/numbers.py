r"""Read a number as a reply states it: `8`, `7,5`, `~8`, `8 points`, `4 out of 5`, `85%`, `four`, `★★★★☆`.

A number may bring its own scale. On the judge's own upper end, `8/10` on 0-10 and `4/5` on 1-5 are the number itself.
Any other `n/d`, and `n%`, is a share of the width of the judge's scale: `4/5` is 8 on 0-10, `20%` is 1.8 on 1-5. So is
a number on a range of its own: `4 (on a scale of 1-5)` is 7.5 on 0-10.
"""

import re
from dataclasses import dataclass

from lfexp_mcp.model import Scale

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# Quantifiers that stand side by side are possessive, so that no reply can make a match take long.
_AMOUNT = (
    r"[+\u2212-]?+(?:\d{1,6},\d{1,2}(?![\d,])|0,\d{1,15}(?!\d)|\d{1,15}+(?:\.\d{1,15}+)?|\.\d{1,15}+)(?:e[+-]?\d{1,2})?+"
    rf"|(?:{'|'.join(_WORDS)})\b"
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
_TO = rf"(?P<low{{n}}>{_END})\s*+(?:[-\u2013\u2014]|to|\.\.)\s*+(?P<high{{n}}>{_END})"


def _numbered(pattern: str, number: int) -> str:
    """Give the groups of a pattern that is used several times the names of one use."""
    return pattern.replace("{n}", str(number))


_STATED = re.compile(
    r"(?:(?:[~≈]|(?:about|around|approximately|approx\.?|roughly|circa|an?)\s)\s*+)?"
    rf"(?P<number>{_AMOUNT})(?:\s*+{_numbered(_UNIT, 1)})?"
    r"(?:\s*+(?P<percent>%|percent\b|per\s++cent\b)"
    rf"|\s*+[(\[]?\s*+{_OF}\s*+(?P<whole>{_WHOLE})(?:\s*+{_numbered(_UNIT, 2)})?(?:\s*+[)\]])?"
    rf"|\s*+\((?:on\s++)?(?:an?\s++|the\s++)?(?:scale\s*+(?:of|from|:)?\s*+)?{_numbered(_TO, 1)}(?:\s++scale)?(?:\)|$)"
    rf"|,?\s++on\s++(?:an?|the)\s++(?:scale\s++(?:of|from)\s++)?{_numbered(_TO, 2)}(?:\s++scale)?)?",
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
    rf"\bscale\s*+(?:of|from|:|=)?\s*+{_numbered(_TO, 1)}|{_numbered(_TO, 2)}[\s-]++(?:point\s++)?scale"
    rf"|^\W*+{_numbered(_TO, 3)}\W*+$",
    re.IGNORECASE,
)
_OWN_POINTS = re.compile(r"\b(\d{1,3})[\s-]points?\s++scale", re.IGNORECASE)
_OWN_END = re.compile(
    r"^\W*+(?:out\s++of|of|/|max(?:imum)?\.?:?)?\s*+(\d{1,6}(?:\.\d{1,6})?)(?:[\s-]++points?)?\W*+$", re.IGNORECASE
)
_OWN_OPENING = re.compile(r"^\W*+out\s++of\s++(\d{1,6}(?:\.\d{1,6})?)(?:\s++points)?,", re.IGNORECASE)
BARE_NUMBER = re.compile(rf"\W*(?:\d+(?:[.,]\d+)?|{'|'.join(_WORDS)})\W*", re.IGNORECASE)
"""A line that is a number and nothing else."""
_BRACKETS = " \t\r\n\"'[](){}\u201c\u201d\u2018\u2019"


@dataclass(frozen=True, slots=True)
class OwnScale:
    """The scale that a reply itself names for its number."""

    low: float | None
    """None where only the upper end is named."""
    high: float

    def convert(self, number: float, scale: Scale) -> float | None:
        """Return the number as one on the judge's scale, perhaps outside it; None where this is no scale."""
        if self.high == scale.high and self.low in {None, scale.low}:
            return number
        low = self.low or 0.0
        if self.high <= low:
            return None
        return scale.low + (number - low) / (self.high - low) * (scale.high - scale.low)


def read_number(text: str, scale: Scale, own: OwnScale | None = None) -> float | None:
    """Read a text that is nothing but a number; None where it is not.

    Args:
        text: What was stated.
        scale: The judge's scale.
        own: The scale that the reply names elsewhere for this number; one that `text` names wins.

    Returns:
        A number on the judge's scale, perhaps outside it.
    """
    bare = _bare(text).rstrip(".!" if text.rstrip().endswith("!") else ".")
    if stars := _STARS.fullmatch(bare):
        return _count_stars(stars, scale)
    match = _STATED.fullmatch(bare)
    return _value(match, scale, own) if match else None


def leading_number(text: str, scale: Scale, own: OwnScale | None = None) -> float | None:
    """Read the number that a text begins with, if nothing but a remark follows it; see `read_number`."""
    bare = _bare(text)
    stars = _STARS.match(bare)
    match = stars or _STATED.match(bare)
    if match is None or not _REMARK.match(bare, match.end()) or _HEDGE.match(bare, match.end()):
        return None
    return _count_stars(match, scale) if stars else _value(match, scale, own)


def own_scale_in(text: str) -> OwnScale | None:
    """Find the scale that a text names, such as `a scale of 1 to 5`, `1-5`, `out of 5` or `Out of 5, ...`; or None."""
    if match := _OWN_RANGE.search(text):
        low, high = next((match[f"low{n}"], match[f"high{n}"]) for n in "123" if match[f"low{n}"])
        return OwnScale(_float(low), _float(high))
    match = _OWN_POINTS.search(text) or _OWN_END.match(text) or _OWN_OPENING.match(text)
    return OwnScale(None, float(match[1])) if match else None


def numbers_in(text: str) -> list[re.Match[str]]:
    """Find all numbers of a text, each with its denominator."""
    return list(_STATED.finditer(_MARKUP.sub(r"\1", text)))


def _bare(text: str) -> str:
    return _MARKUP.sub(r"\1", text).strip(_BRACKETS)


def _value(match: re.Match[str], scale: Scale, own: OwnScale | None) -> float | None:
    number = _float(match["number"])
    for low, high in ((match["low1"], match["high1"]), (match["low2"], match["high2"])):
        if low is not None:
            own = OwnScale(_float(low), _float(high))
    if match["percent"]:
        own = OwnScale(None, 100.0)
    elif match["whole"]:
        own = OwnScale(None, _float(match["whole"]))
    elif match["star1"] and own is None and number <= 5 != scale.high:
        # Stars are out of five as a rule, so that these may mean either.
        return None
    return own.convert(number, scale) if own else number


def _count_stars(match: re.Match[str], scale: Scale) -> float | None:
    filled, empty = (sum(character in "★⭐🌟☆✩✰" for character in part) for part in match.groups())
    if empty or filled == 5:
        return OwnScale(None, filled + empty).convert(filled, scale)
    return float(filled) if filled <= 5 == scale.high else None


def _float(text: str) -> float:
    word = text.lower()
    if word in _WORDS:
        return float(_WORDS.index(word))
    return float(word.replace(",", ".").replace("\u2212", "-"))
