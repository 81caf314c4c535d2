r"""Read a judge's reply: the score that it states in a form that cannot be mistaken, and its reason.

A score is read from, in this order: the first JSON object that holds one, whatever stands around it; a
labelled line such as `**Score:** 8/10`, `<score>8</score>` or `\boxed{8}`; a reply, or first line, that is
nothing but the score. No number is taken from prose.

A number may carry a denominator: `n/d`, `n out of d` and `n%` mean the share n/d of the upper end of the
judge's scale, so `8/10` is 8 on 0-10, 0.8 on 0-1 and 80 on 0-100.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeReplyError
from lfexp_mcp.judges.loose_json import objects_in
from lfexp_mcp.scores import Scale

BEGINNING = 200
"""Characters of an unreadable reply that its error quotes."""
_LONGEST = 50_000

_SCORE_KEYS = ("score", "final_score", "overall_score", "rating", "grade", "verdict", "label", "category", "result")
_REASON_KEYS = ("reasoning", "reason", "explanation", "rationale", "justification", "comment", "feedback", "critique")

_THINKING = re.compile(r"<(think|thinking|reasoning_content)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THINKING = re.compile(r"\A.*</(?:think|thinking)>", re.DOTALL | re.IGNORECASE)

# Quantifiers that stand side by side are possessive, so that no reply can make a match take long.
_NUMBER = re.compile(
    r"([+-]?\d{1,15}(?:\.\d{1,15})?)\s*+(?:(?:/|out\s+of)\s*+(\d{1,6}(?:\.\d{1,6})?)|(%))?(?:\s*+points?)?",
    re.IGNORECASE,
)
_LABEL = (
    r"(?:^|(?<=[.!?;]))[^\S\n]*+(?P<mark>(?:(?![\"'\u201c\u201d])[^\w\s]|_)++[^\S\n]*+)?(?:the\s++|my\s++)?"
    r"(?P<final>final\s++|overall\s++|total\s++)?(?:{names})(?:\s++(?:score|rating))?+"
    r"[^\S\n]*+[*_`]*+[^\S\n]*+(?:\([^)\n]*\))?[^\S\n]*+(?:[:=][^\S\n]*+(?:\n[^\S\n]*+)?|(?P<heading>\n\s*+))(?P<value>.+)$"
)
_DECORATION = " \t\r\n*_`\"'[]()\u201c\u201d"
_TAG = re.compile(r"<(score|rating|grade|verdict)>\s*([^<]{1,60}?)\s*</\1>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?([^{}]{1,60}?)\}?\s*\}")
_VALUE_END = re.compile(r"[*_`\"'\])]*\s*(?:[.;,](?=\s|$)|\(|-\s+(?=\D)|[\u2013\u2014]\s*(?=\D)|$)")
_REASON_LABEL = re.compile(
    rf"(?:^|\n)(?:[^\w\n]|_)*+(?:{'|'.join(_REASON_KEYS)})[*_]*\s*:[*_]*\s*(.+)", re.DOTALL | re.IGNORECASE
)
_REASON_TAG = re.compile(r"<(reasoning|reason|explanation|rationale)>(.+?)</\1>", re.DOTALL | re.IGNORECASE)

_TRUE = {"true", "pass", "passed", "yes"}
_FALSE = {"false", "fail", "failed", "no"}


@dataclass(frozen=True, slots=True)
class ReadReply:
    """What a judge said."""

    value: float | bool | str
    """A number on the judge's scale, a bool for a BOOLEAN scale, a label for a
    CATEGORICAL one."""
    reason: str | None


def read_reply(reply: str, scale: Scale, score_name: str) -> ReadReply:
    """Read the score and the reason from a judge's reply.

    Args:
        reply: What the model replied.
        scale: The judge's scale; it says which values count.
        score_name: Name of the score; a judge of `accuracy` may answer `{"accuracy": 8}` or `Accuracy: 8`.

    Raises:
        JudgeReplyError: The reply states no score, one outside the scale, or several that differ.
    """
    text = _unquoted(_END_OF_THINKING.sub("", _THINKING.sub("", reply)).strip()[:_LONGEST])
    for found in objects_in(text):
        for holder in _holders(found, score_name):
            value = _read(_score_in(holder, score_name), scale)
            if value is not None:
                reason = _reason_in(holder) or (_reason_in(found) if isinstance(found, dict) else None)
                return ReadReply(_on_scale(value, scale), reason)
    value = _labelled(text, scale, score_name)
    if value is None:
        value = _alone(text, scale)
    if value is None:
        raise JudgeReplyError(f"The judge's reply states no score on {scale.name}: {_beginning(reply)}")
    return ReadReply(_on_scale(value, scale), _reason_around(text, scale))


def _on_scale(value: float | bool | str, scale: Scale) -> float | bool | str:
    if scale.kind != "NUMERIC" or isinstance(value, str):
        return value
    on_scale = scale.within(value)
    if on_scale is None:
        raise JudgeReplyError(f"The judge's reply states {value:g}, which is outside its scale {scale.name}.")
    return on_scale


def _unquoted(text: str) -> str:
    """Take JSON that was written as a JSON string once more out of its quotes."""
    if not text.startswith('"{'):
        return text
    try:
        inner = json.loads(text)
    except ValueError:
        return text
    return inner if isinstance(inner, str) else text


def _beginning(reply: str) -> str:
    if not reply.strip():
        return "it is empty."
    cut = reply.strip()[:BEGINNING]
    return f"{cut!r}" if len(cut) == len(reply.strip()) else f"{cut!r}..."


def _holders(found: JsonValue, score_name: str) -> Iterator[Mapping[str, JsonValue]]:
    """The object that holds the score: itself, or the only one among those within it."""
    if isinstance(found, dict) and _score_in(found, score_name) is not None:
        yield found
        return
    if isinstance(found, dict):
        named = [inner for key, inner in found.items() if _key(key) == _key(score_name)]
        within: Iterable[JsonValue] = named or list(found.values())
    else:
        within = found if isinstance(found, list) else []
    inner_holders = [holder for inner in within for holder in _holders(inner, score_name)]
    if len(inner_holders) == 1:
        yield inner_holders[0]


def _score_in(holder: Mapping[str, JsonValue], score_name: str) -> JsonValue:
    members = {_key(key): value for key, value in holder.items() if not isinstance(value, dict | list)}
    keys = (_SCORE_KEYS[0], _key(score_name), *_SCORE_KEYS[1:])
    return next((members[key] for key in keys if members.get(key) is not None), None)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _reason_in(holder: Mapping[str, JsonValue]) -> str | None:
    members = {_key(key): value for key, value in holder.items()}
    reason = next((members[key] for key in _REASON_KEYS if members.get(key)), None)
    return reason if isinstance(reason, str) or reason is None else json.dumps(reason, ensure_ascii=False)


def _read(stated: JsonValue, scale: Scale) -> float | bool | str | None:
    """Read a value that was stated as the score; None when it is none on this scale."""
    match scale.kind:
        case "BOOLEAN":
            return _truth(stated, scale)
        case "CATEGORICAL":
            return _label(stated, scale)
        case _:
            return _number(stated, scale)


def _number(stated: JsonValue, scale: Scale) -> float | None:
    if isinstance(stated, bool):
        return None
    if isinstance(stated, str):
        return _number_in(stated, scale)
    if isinstance(stated, int | float):
        return float(stated) if math.isfinite(stated) else None
    return None


def _number_in(stated: str, scale: Scale) -> float | None:
    bare = _undecorated(stated).removesuffix(".")
    match = _NUMBER.fullmatch(bare)
    if match is None:
        return None
    number = float(match[1])
    whole = 100.0 if match[3] else float(match[2]) if match[2] else scale.high
    return number * scale.high / whole if whole else None


def _undecorated(stated: str) -> str:
    return stated.strip(_DECORATION)


def _truth(stated: JsonValue, scale: Scale) -> bool | None:
    if isinstance(stated, bool):
        return stated
    if isinstance(stated, int | float):
        return bool(stated) if stated in {0, 1} else None
    if not isinstance(stated, str):
        return None
    word = _undecorated(stated).rstrip(".!").casefold()
    true, false = scale.categories
    if word in _TRUE | {true.label.casefold(), "1"}:
        return True
    return False if word in _FALSE | {false.label.casefold(), "0"} else None


def _label(stated: JsonValue, scale: Scale) -> str | None:
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        worth = [category.label for category in scale.categories if category.value == stated]
        stated = worth[0] if len(worth) == 1 else f"{stated:g}"
    if not isinstance(stated, str):
        return None
    category = scale.category(stated) or scale.category(_undecorated(stated).rstrip(".!"))
    return category.label if category else None


def _labelled(text: str, scale: Scale, score_name: str) -> float | bool | str | None:
    """Read labelled lines, tags and boxes; a final or overall one wins, else they must agree."""
    names = "|".join(["score", "rating", "grade", "verdict", re.escape(score_name).replace("_", r"[\s_]")])
    pattern = re.compile(_LABEL.replace("{names}", names), re.IGNORECASE | re.MULTILINE)
    final: list[float | bool | str] = []
    plain: list[float | bool | str] = []
    for match in pattern.finditer(text):
        if match["heading"] and not match["mark"]:
            continue
        value = _read(match["value"], scale) if match["heading"] else _leading(match["value"], scale)
        if value is not None:
            (final if match["final"] else plain).append(value)
    for stated in [*(match[2] for match in _TAG.finditer(text)), *(match[1] for match in _BOXED.finditer(text))]:
        value = _read(stated, scale)
        if value is not None:
            plain.append(value)
    candidates = set(final or plain)
    return candidates.pop() if len(candidates) == 1 else None


def _leading(line: str, scale: Scale) -> float | bool | str | None:
    """Read the value that a line begins with, if nothing but a remark set apart follows it."""
    stripped = line.strip().lstrip("*_`\"'[(")
    whole = _read(stripped, scale)
    if whole is not None:
        return whole
    if scale.kind == "NUMERIC":
        match = _NUMBER.match(stripped)
        return _number_in(match[0], scale) if match and _VALUE_END.match(stripped, match.end()) else None
    word = re.match(r"[\w-]+(?: [\w-]+){0,3}?(?=[*_`\"'\])]*\s*(?:[.;,(]|[-\u2013\u2014]\s|$))", stripped)
    return _read(word[0], scale) if word else None


def _alone(text: str, scale: Scale) -> float | bool | str | None:
    """Read a reply that is nothing but the score, or begins with a line that is."""
    whole = _read(text, scale)
    if whole is not None:
        return whole
    first, _, rest = text.partition("\n")
    return _read(first, scale) if rest and not first.rstrip().endswith(".") else None


def _reason_around(text: str, scale: Scale) -> str | None:
    labelled = _REASON_LABEL.search(text)
    tagged = _REASON_TAG.search(text)
    if labelled or tagged:
        return (tagged[2] if tagged else labelled[1] if labelled else "").strip()
    return text if "\n" in text or _read(text, scale) is None else None
