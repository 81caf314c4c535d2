"""Find the scale that the text of a judge's prompt states."""

import re
from itertools import pairwise

from lfexp_mcp.model import BOOLEAN, UNIT, Category, Scale

Range = tuple[float, float]

PASS_FAIL = Scale(0, 1, kind="BOOLEAN", categories=(Category("PASS", 1), Category("FAIL", 0)))
YES_NO = Scale(0, 1, kind="BOOLEAN", categories=(Category("yes", 1), Category("no", 0)))

_NUMBER = r"-?\d{1,3}(?:\.\d+)?"
_DASH = r"[-\u2013\u2014]"
_RANGE = re.compile(rf"^\s*({_NUMBER})\s*(?:{_DASH}|\.\.|to)\s*({_NUMBER})\s*$", re.IGNORECASE)

_NOT_A_UNIT = r"(?![\d.]*\d)(?!\s*(?:short\s+)?(?:sentence|word|line|paragraph|item|example|reason|bullet|step)s?\b)"
_NOTE = r"(?:\s*\([^)\n]*\))?"
_TO = rf"({_NUMBER}){_NOTE}\s*(?:{_DASH}|\bto\b|\.\.\.?)\s*({_NUMBER}){_NOT_A_UNIT}"
_AND = rf"between\s+({_NUMBER}){_NOTE}\s+and\s+({_NUMBER}){_NOT_A_UNIT}"
_CUE = r"\b(?:scale|scor(?:e|es|ing)|rat(?:e|es|ing)|grad(?:e|es|ing)|number|integer|float|value|points?)\b"
_NEAR = r"[^.\n\d]{0,60}?(?<![\d.-])"
_RANGES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for span in (_TO, _AND)
    for pattern in (rf"{_CUE}{_NEAR}{span}", rf"(?<![\d.-]){span}\s*(?:point\s+)?{_CUE}")
)
_OUT_OF = re.compile(rf"{_CUE}[^.\n]{{0,40}}?(?:\bout of|/)\s*(\d{{1,3}})\b", re.IGNORECASE)

_ANSWER = r"\b(?i:verdict|answer|respond|reply|return|output|score|grade|rating)\b[^\n]{0,60}?"
_OR = r"[\"'`*]*\s*(?:/|\||,?\s*or)\s*[\"'`*]*"
# Not followed by what they count, as in "0 or 1 mistakes".
_NOTHING_COUNTED = r"(?=[\"'`*]*\s*(?:$|[.,;:)}\n(]|\b(?:if|when|where|only|depending|based)\b))"
_ZERO_OR_ONE = rf"(?<![\d.-])(?:0{_NOTE}{_OR}1|1{_NOTE}{_OR}0)(?![\d.]*\d){_NOTHING_COUNTED}"
_VALUES = (
    (re.compile(rf"{_ANSWER}\bPASS{_OR}FAIL\b"), PASS_FAIL),
    (re.compile(rf"{_ANSWER}\b(?i:true{_OR}false)\b"), BOOLEAN),
    (re.compile(rf"{_ANSWER}\b(?i:yes{_OR}no)\b"), YES_NO),
    (re.compile(rf"{_ANSWER}{_ZERO_OR_ONE}", re.MULTILINE), UNIT),
)

_AWARD = r"(?P<points>\s*(?:points?|pts|marks?)\b)?\)?(?=\s+(?:for|on)\s+(?P<criterion>[^.,;:\n\d]+))?"
_SPANS = tuple(re.compile(rf"(?<![\d.-]){span}{_AWARD}", re.IGNORECASE) for span in (_TO, _AND))
_LABEL = re.compile(
    r"(?P<criterion>[^\W\d][\w /-]{0,40})(?<!scale)(?<!score)(?<!rating)(?<!grade)(?<!number)(?<!total)\s*[:(]\s*\Z",
    re.IGNORECASE,
)
"""What comes before a range and names what it is for, as in `Clarity (0-3 points)`."""

_LOWS = {0.0, 1.0, -1.0}
_MAX_HIGH = 100.0
"""Other ranges are rather bands of a scale, or count something else than points."""


def parse_range(text: str) -> Scale | None:
    """Read a text that is only a range, such as `0-10` or `1 to 5`."""
    match = _RANGE.match(text)
    if match is None:
        return None
    low, high = float(match[1]), float(match[2])
    return Scale(low, high) if low < high else None


def scale_in_prompt(text: str) -> Scale | None:
    """Find the scale that a prompt asks for.

    A range counts next to a word such as `score` or `scale`, if it starts at -1, 0 or 1, ends at 100 or less, and is
    not 1-2. Of several, the one that contains all others is the scale, and they are its bands (`0-3 is poor`), unless
    it is that of one criterion among several, which may have to be added up. Without a range, the two values that the
    answer may have count, such as `PASS or FAIL` or `0 or 1`.

    Args:
        text: The prompt's text, not filled in.

    Returns:
        The scale; None if the text states none, or several.

    Example:
        >>> scale_in_prompt("Rate the answer from 1 to 5.").name
        '1-5'
    """
    ranges = _ranges(text)
    widest = max(ranges, key=lambda ends: ends[1] - ends[0], default=None)
    if widest is not None:
        low, high = widest
        inside = all(low <= other[0] and other[1] <= high for other in ranges)
        return Scale(low, high) if inside and not _is_part(widest, text) else None
    return next((scale for pattern, scale in _VALUES if pattern.search(text)), None)


def _ranges(text: str) -> set[Range]:
    ends = {(float(match[1]), float(match[2])) for pattern in _RANGES for match in pattern.finditer(text)}
    if plausible := {(low, high) for low, high in ends - {(1, 2)} if low in _LOWS and low < high <= _MAX_HIGH}:
        return plausible
    tops = {float(match[1]) for match in _OUT_OF.finditer(text)}
    return {(0.0, top) for top in tops if 1 < top <= _MAX_HIGH}


def _is_part(widest: Range, text: str) -> bool:
    """Whether the widest range is that of one of several criteria: `0-2 points for facts and 0-3 points for style`.

    It is not if it is stated for itself, if those of the others are its bands, which do not overlap, or add up to it.
    """
    criteria: dict[str, Range] = {}
    in_points = False
    for match in (match for pattern in _SPANS for match in pattern.finditer(text)):
        ends, label = (
            (float(match[1]), float(match[2])),
            _LABEL.search(text[max(match.start() - 60, 0) : match.start()]),
        )
        criterion = match["criterion"] or (label["criterion"] if label else None)
        if criterion is not None:
            criteria[criterion.strip().casefold()] = ends
            in_points = in_points or match["points"] is not None
        elif ends == widest:
            return False
    if widest not in criteria.values():
        return False
    others = sorted(criteria.values())
    others.remove(widest)
    if len(others) < 2:
        return others != [] and (in_points or others != [widest])
    are_bands = all(before[1] <= after[0] for before, after in pairwise(others))
    adds_up = sum(high for _, high in others) <= widest[1]
    return not are_bands and not adds_up and (in_points or {*others} != {widest})
