"""Numbers: read as people and models write them, and compared with a tolerance."""

import re
from contextlib import suppress
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import ClassVar

from pydantic import Field, JsonValue

from lfexp_mcp.evaluators.base import BuiltIn, UnscoredError, require
from lfexp_mcp.evaluators.values import Missing, as_decimal, kind_of, lookup, normalise, parse_text, show
from lfexp_mcp.model import Evaluation

_ARITHMETIC = Context(prec=60, Emax=999_999_999, Emin=-999_999_999, traps=[])
"""Numbers as long as any that is written, and infinity instead of an exception for larger ones."""
_CURRENCY = "$€£¥₹"
_DIGIT_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_WORD = re.compile(r"""(?:[^\s=*`"\u201c\u201d(){}\[\]<>|~^\\;!?:#]|(?<=\d):(?=\d))+""")
_FORM = re.compile(
    rf"""(?P<sign>[+-]?)(?P<currency>[{_CURRENCY}]?)(?P<inner>[+-]?)
    (?:
        (?P<plain>\d+(?:\.\d*)?|\.\d+)(?P<exponent>[eE][+-]?\d{{1,6}})?
      | (?P<english>\d{{1,3}}(?:,\d{{2,3}})*,\d{{3}}(?:\.\d+)?)
      | (?P<continental>\d{{1,3}}(?:\.\d{{3}})+,\d+|\d+,\d{{1,2}}|\d{{1,3}}(?:\.\d{{3}}){{2,}})
      | (?P<over>\d{{1,15}})/(?P<under>0*[1-9]\d{{0,14}})
    )
    (?P<percent>%?)(?P<after>[{_CURRENCY}]?)""",
    re.VERBOSE,
)
_POWERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written."""

    value: Decimal
    currency: str = ""


def find_numbers(text: str) -> list[Number]:
    """Return the numbers that stand in a text as words of their own.

    Known are `1,234.5`, `1.234,5`, `1'234`, `1e3`, `1/3`, `50%` (a half), currency signs before or after, and a
    following `million` and the like. A comma or point alone is a decimal sign unless three digits follow a comma.
    Digits in names, dates, times and ranges do not count, and units are ignored.
    """
    text = _DIGIT_GROUPS.sub(",", text.replace("\u2212", "-"))
    words = [word.strip(".,:'\u2019").removesuffix("-") for word in _WORD.findall(text)]
    numbers: list[Number] = []
    for at, word in enumerate(words):
        match = _FORM.fullmatch(word)
        if match is None:
            continue
        after = words[at + 1].casefold() if at + 1 < len(words) else ""
        value = _value(match)
        if after == "%" and not match["percent"]:
            value = value.scaleb(-2, _ARITHMETIC)
        elif after in _POWERS:
            value = value.scaleb(_POWERS[after], _ARITHMETIC)
        currency = match["currency"] or match["after"] or (after if len(after) == 1 and after in _CURRENCY else "")
        numbers.append(Number(value, currency))
    return numbers


def _value(match: re.Match[str]) -> Decimal:
    if match["over"]:
        value = _ARITHMETIC.divide(Decimal(match["over"]), Decimal(match["under"]))
    elif match["plain"]:
        value = _ARITHMETIC.create_decimal(match["plain"] + (match["exponent"] or ""))
    elif match["english"]:
        value = Decimal(match["english"].replace(",", ""))
    else:
        value = Decimal(match["continental"].replace(".", "").replace(",", "."))
    if "-" in (match["sign"], match["inner"]):
        value = -value
    return value.scaleb(-2, _ARITHMETIC) if match["percent"] else value


def read_number(value: JsonValue) -> Number | str:
    """Read a number, or a text that holds one; after the last `####`, if there is one, as GSM8K marks answers.

    Returns:
        The number, or why it is none, as a clause.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return f"is {kind_of(value)}, not a number"
    if not isinstance(value, str):
        number = as_decimal(value)
        return "is not a finite number" if number is None else Number(number)
    found = find_numbers(normalise(value.rpartition("####")[2]))
    if not found:
        return f"holds no number: {show(value)}"
    return (
        found[0] if len(found) == 1 else f"holds {len(found)} numbers, and it is not known which counts: {show(value)}"
    )


def within(value: Decimal, expected: Decimal, tolerance: float, relative: float) -> bool:
    """Whether a number is as near to the expected one as the larger of two tolerances allows; both as written."""
    with localcontext(_ARITHMETIC):
        allowed = max(Decimal(repr(tolerance)), Decimal(repr(relative)) * abs(expected))
        return abs(value - expected) <= allowed


class Numeric(BuiltIn):
    """Whether the number in the output is the expected one, within a tolerance.

    An output without a number is wrong. One with several, none of them marked by `####`, is unscored, since which is
    the answer would be a guess; so is an item whose expected output is not a number.
    """

    evaluator: ClassVar[str] = "numeric"
    main_option: ClassVar[str | None] = "tolerance"

    tolerance: float = Field(default=0.0, ge=0)
    """Absolute."""
    relative: float = Field(default=0.0, ge=0, le=1)
    """Share of the expected number."""
    field: str | None = None
    """Path of the number in an output that is JSON, such as `answer.value`."""

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        expected = read_number(require(expected_output))
        if isinstance(expected, str):
            raise UnscoredError(f"The expected_output {expected}.")
        given: JsonValue | Missing = output
        if self.field is not None:
            with suppress(ValueError):
                output = parse_text(output) if isinstance(output, str) else output
            given = lookup(output, self.field)
        if isinstance(given, Missing):
            return self.evaluation(False, f"The output has no field {self.field!r}.")
        number = read_number(given)
        if isinstance(number, str):
            if isinstance(given, list | dict) or "numbers, and" in number:
                raise UnscoredError(f"The output {number}.")
            return self.evaluation(False, f"The output {number}.")
        if number.currency and expected.currency and number.currency != expected.currency:
            return self.evaluation(False, f"{number.currency} is not {expected.currency}.")
        comment = f"{number.value:,} where {expected.value:,} is expected"
        return self.evaluation(within(number.value, expected.value, self.tolerance, self.relative), comment[:300])
