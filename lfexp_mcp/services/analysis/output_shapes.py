"""Outputs that look wrong by themselves: empty, refusals, broken JSON, of another type than expected, or cut off."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.model import ItemResult

MIN_LONG_CHARS = 200
"""An output of this length counts as cut off if it does not end properly."""
MIN_PROPER_SHARE = 0.6
"""Unless this share of the long outputs ends properly, none counts as cut off."""
MAX_REFUSAL_CHARS = 500
"""A longer text does more than refuse."""
LOOP_CHARS = 1_000
"""Characters at the end of an output in which a loop is looked for."""
MAX_LOOP_PERIOD = 80
MIN_LOOP_TURNS = 10
MIN_LOOPED_CHARS = 100

_APOLOGY = r"(?:(?:i['’]?m|i am) (?:very |so |really )?sorry|sorry|i apologi[sz]e|unfortunately)"  # noqa: RUF001
_UNABLE = r"(?:can['’]?t|cannot|can not|won['’]?t|will not|am (?:not able|unable) to|['’]m (?:not able|unable) to)"  # noqa: RUF001
_VERB = (
    r"(?:help|assist|answer|provide|comply|do|share|fulfil|fulfill|process|create|discuss|respond|complete|give|"
    r"generate|write|offer|support|engage|continue|disclose)"
)
_REFUSAL = re.compile(
    rf"(?:{_APOLOGY}[,.;:!]?\s+)?(?:but\s+|however,?\s+)?(?:as an ai[^,.\n]{{0,40}},\s+)?"
    rf"i\s?{_UNABLE} (?:\w+ ){{0,2}}?{_VERB}\b",
    re.IGNORECASE,
)
_ERROR_TEXT = re.compile(
    r"(?:\w*(?:Error|Exception)\b\s*:|Traceback \(most recent call last\)|<(?:!doctype )?html\b)", re.IGNORECASE
)
_FENCE = re.compile(r"```\w*\s*\n(.*?)\n?\s*```", re.DOTALL)
_TYPE_NAMES = {dict: "object", list: "list", bool: "boolean", int: "number", float: "number", str: "text"}


@dataclass(frozen=True, slots=True)
class OutputLook:
    """How one output looks, without the output itself."""

    shape: str | None
    """What looks wrong by itself; see `output_shape`."""
    is_long: bool
    """Whether it is long enough to tell whether it is cut off."""
    ends_properly: bool

    @classmethod
    def of(cls, result: ItemResult) -> "OutputLook":
        """Look at the output of a result."""
        output = result.output
        text = output if isinstance(output, str) else ""
        shape = output_shape(output, result.expected_output)
        return cls(shape, len(text) >= MIN_LONG_CHARS, _ends_properly(text))


def output_shapes(looks: Sequence[OutputLook]) -> list[str | None]:
    """Return what looks wrong in each of the outputs of a run's succeeded results; None for nothing."""
    long = [look.ends_properly for look in looks if look.is_long]
    are_proper = sum(long) >= MIN_PROPER_SHARE * len(long)
    return [
        look.shape or ("cut off" if are_proper and look.is_long and not look.ends_properly else None) for look in looks
    ]


def output_shape(output: JsonValue, expected: JsonValue) -> str | None:
    r"""Return what looks wrong in one output; None for nothing, and for what looks the same in the expected output.

    Example:
        >>> output_shape('```json\n{"a": 1}\n```', {"a": 1})
        'JSON in a code fence'
    """
    shape = _looks(output)
    if expected is None:
        return shape
    return _differs_in_type(output, expected) if shape is None else None if shape == _looks(expected) else shape


def _looks(output: JsonValue) -> str | None:
    if output is None:
        return "no output"
    if isinstance(output, list | dict) and not output:
        return f"empty {_TYPE_NAMES[type(output)]}"
    if isinstance(output, dict) and output.get("error"):
        return "error as output"
    if not isinstance(output, str):
        return None
    if all(unicodedata.category(character)[0] in "ZC" for character in output[:LOOP_CHARS]):
        return "empty text"
    start = output.lstrip()[:MAX_REFUSAL_CHARS]
    if _ERROR_TEXT.match(start):
        return "error as output"
    if len(output) <= MAX_REFUSAL_CHARS and _REFUSAL.match(start):
        return "refusal"
    return "repeats itself to the end" if _loops(output[-LOOP_CHARS:].rstrip()) else None


def _loops(ending: str) -> bool:
    """Whether a text ends in the same few words over and over, as when a model does not stop."""
    # A loop repeats its last characters within its period: a cheap test that most texts fail.
    recent = MIN_LOOPED_CHARS - MAX_LOOP_PERIOD
    if len(ending) < MIN_LOOPED_CHARS or ending[-recent:] not in ending[-MIN_LOOPED_CHARS:-1]:
        return False
    for period in range(1, MAX_LOOP_PERIOD + 1):
        looped = max(MIN_LOOP_TURNS * period, MIN_LOOPED_CHARS)
        if looped > len(ending):
            return False
        if ending[-looped:-period] == ending[period - looped :] and ending[-period:].strip():
            return True
    return False


def _differs_in_type(output: JsonValue, expected: JsonValue) -> str | None:
    wanted = _type_name(expected)
    if isinstance(expected, dict | list) and isinstance(output, str):
        found = _broken_json(output.strip(), type(expected))
        return f"text instead of {wanted}" if found is None else found or None
    given = _type_name(output)
    # On the wire, a number and a text that says it are the same.
    if given == wanted or (isinstance(output, str) and wanted in ("text", "number", "boolean")):
        return None
    return f"{given} instead of {wanted}"


def _type_name(value: JsonValue) -> str:
    if isinstance(value, str):
        # `1,024` is a number to a reader.
        parsed = _parse(value.replace(",", ""))
        value = parsed if isinstance(parsed, int | float) else value
    return _TYPE_NAMES[type(value)]


def _broken_json(text: str, wanted: type) -> str | None:
    """How a text fails to be JSON of a type; an empty text if it is such JSON, None if it shows no sign of it."""
    try:
        return "" if isinstance(json.loads(text), wanted) else None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text) or error.msg.startswith("Unterminated")
    except RecursionError:
        return "JSON that does not parse"
    fenced = _FENCE.search(text)
    if fenced and isinstance(_parse(fenced[1]), wanted):
        return "JSON in a code fence"
    if text.startswith(("{", "[")):
        return "JSON that is cut off" if cut else "JSON that does not parse"
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    if start < 0:
        return None
    try:
        json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return "JSON within text"


def _parse(text: str) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


def _ends_properly(text: str) -> bool:
    """Whether a text ends in closing punctuation, in any script, and leaves no code block open."""
    ending = text.rstrip()
    last = ending[-1:]
    closed = bool(last) and unicodedata.category(last)[0] in "PS" and last not in ",;-"
    return closed and ending.count("```") % 2 == 0
