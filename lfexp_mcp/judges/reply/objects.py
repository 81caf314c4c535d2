"""Read the score that a JSON object in a reply holds."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from lfexp_mcp.judges.reply.context import FINAL, LABEL_NAMES, NUMBER_NAMES, OVERALL, REASON_NAMES
from lfexp_mcp.judges.reply.statements import Statement
from lfexp_mcp.judges.reply.values import OwnScale, Value, leading_value, own_scale_in, read_value
from lfexp_mcp.model import Scale
from lfexp_mcp.strict_json import finite_number

_OTHERS_KEYS = set(
    """
    output candidate submission example examples quote quoted expected expected_output reference metadata previous
    draft format schema rubric self_assessment
    """.split()  # noqa: SIM905
)
"""Keys of what is not the judge's own verdict."""
_PART_KEYS = {"criterion", "criteria", "aspect", "dimension", "metric", "item", "sample", "step"}
"""Keys of one score among several."""
_HIGH_KEYS = (
    "max_score score_max max maximum maximum_score max_value out_of max_points max_rating points_possible".split()  # noqa: SIM905
)
_LOW_KEYS = "min_score score_min min minimum minimum_score min_value".split()  # noqa: SIM905
_SCALE_KEYS = "scale score_scale rating_scale range score_range unit".split()  # noqa: SIM905
_ARGUMENT_KEYS = {"arguments", "parameters", "input", "content"}
"""Keys of a tool call's arguments, which may be JSON in a string."""
_PASS_KEYS = ("pass", "passed", "passes", "is_pass")
_NO_SCORE = re.compile(
    r"\W*(?:n/?a|none|null|unknown|undetermined|not applicable|cannot .*|unable .*)?\W*", re.IGNORECASE
)
_NAMES = f"{NUMBER_NAMES}|{LABEL_NAMES}|value|number"
_MARKED = re.compile(
    rf"(?:(?P<final>{FINAL})|(?P<overall>{OVERALL}))(?:_?(?:{_NAMES}))?|final_(?:{_NAMES})", re.IGNORECASE
)
_LABEL = re.compile(LABEL_NAMES, re.IGNORECASE)
_NAMED = re.compile(rf"(?:{_NAMES})(?:_(?:score|rating|value))?", re.IGNORECASE)


def scores_in_object(found: JsonValue, scale: Scale, score_name: str, statement: Statement) -> list[Statement]:
    """Find the score in an object, or the scores in an array.

    An object's own members come first, then the objects in it; keys with the score's name, or marked as final, come
    before all others. An object with one score per criterion has none.

    Args:
        score_name: Name of the score, by which the judge may call it.
        statement: Where the object is in the reply; the result has its position and standing.
    """
    name = _key(score_name)
    search = _Search(scale, (name, f"{name}_score", f"{name}_rating"), replace(statement, finality=0, is_object=True))
    scores = search.within(found, None, None)
    return [replace(score, finality=max(score.finality, statement.finality)) for score in scores]


@dataclass(frozen=True, slots=True)
class _Search:
    scale: Scale
    names: tuple[str, ...]
    statement: Statement

    def within(self, found: JsonValue, own: OwnScale | None, reason: str | None) -> list[Statement]:
        """Find the scores in any value, with the scale and the reason of the objects around it."""
        if isinstance(found, list):
            by_part = any(isinstance(entry, dict) and _PART_KEYS & _members(entry).keys() for entry in found)
            if by_part and len(found) > 1:
                return []
            return [score for entry in found for score in self.within(entry, own, reason)]
        if not isinstance(found, dict):
            return []
        members = _members(found)
        own = _own_scale(members) or own
        reason = _reason(members) or reason
        score = self._own_score(members, own, reason)
        return [score] if score else self._inner(members, own, reason)

    def _score(self, value: Value | None, finality: int, reason: str | None) -> Statement:
        return replace(self.statement, value=value, finality=finality, reason=reason)

    def _own_score(
        self, members: Mapping[str, JsonValue], own: OwnScale | None, reason: str | None
    ) -> Statement | None:
        none: Statement | None = None
        for key, finality in self._keys(members):
            value = members[key]
            if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict | list):
                value = value[0]
            if isinstance(value, dict):
                inner = _members(value)
                score = self._own_score(inner, _own_scale(inner) or own, _reason(inner) or reason)
                if score is not None:
                    return replace(score, finality=max(finality, score.finality))
                continue
            # Several scores in a row, or one out of a total that is not the scale's end, are no definite score.
            several = isinstance(value, list) and value and not any(isinstance(entry, dict | list) for entry in value)
            if several or (key == "score" and self._may_be_out_of_total(members)):
                return self._score(None, finality, reason)
            read: Value | None = None
            if isinstance(value, str):
                read = leading_value(value, self.scale, own)
            elif not isinstance(value, list):
                read = read_value(value, self.scale, own)
            if read is not None:
                return self._score(read, finality, reason)
            if value is None or (isinstance(value, str) and _NO_SCORE.fullmatch(value)):
                # The judge gives no score, unless another key has one.
                none = none or self._score(None, finality, reason)
            elif key == "score" and self.scale.kind == "NUMERIC":
                # What the judge calls its score cannot be read; a number under another name does not replace it.
                return None
        return none or self._passed(members, reason)

    def _passed(self, members: Mapping[str, JsonValue], reason: str | None) -> Statement | None:
        """Read `{"pass": true}` on a scale of pass and fail."""
        if self.scale.kind != "BOOLEAN" or self.scale.categories[0].label.casefold() != "pass":
            return None
        passed = next((members[key] for key in _PASS_KEYS if key in members), None)
        return self._score(passed, 0, reason) if isinstance(passed, bool) else None

    def _keys(self, members: Mapping[str, JsonValue]) -> list[tuple[str, int]]:
        """Return the keys that may hold the score, the likeliest first, with their finality."""
        marked = [(key, 2 if match["overall"] is None else 1) for key in members if (match := _MARKED.fullmatch(key))]
        if "score" in members:
            # Beside a score, a total is more likely what it is out of.
            marked = [entry for entry in marked if entry[0] != "total"]
        plain = dict.fromkeys(["score", *self.names, *filter(_NAMED.fullmatch, members)])
        if self.scale.kind == "NUMERIC":
            # A number called an answer or a result is not the judge's, but an object called so may hold its score.
            plain = {key: None for key in plain if not _LABEL.fullmatch(key) or isinstance(members.get(key), dict)}
        ordered = sorted(marked, key=lambda entry: -entry[1]) + [(key, 0) for key in plain]
        return [(key, finality) for key, finality in ordered if key in members]

    def _may_be_out_of_total(self, members: Mapping[str, JsonValue]) -> bool:
        total = members.get("total")
        return finite_number(total) is not None and total not in {self.scale.high, members["score"]}

    def _inner(self, members: Mapping[str, JsonValue], own: OwnScale | None, reason: str | None) -> list[Statement]:
        named = [key for key in members if key in self.names]
        marked = [key for key in members if _MARKED.fullmatch(key)]
        is_call = "name" in members or members.get("type") == "tool_use"
        others = [key for key in members if key not in _OTHERS_KEYS and (key != "input" or is_call)]
        scores: list[Statement] = []
        for key in named or marked or others:
            value = _unpacked(members[key]) if key in _ARGUMENT_KEYS else members[key]
            scores += self.within(value, own, reason)
        final = [score for score in scores if score.finality]
        if len(scores) > 1 and not final and not any(isinstance(members[key], list) for key in others):
            return [self._score(None, 0, reason)]
        return final or scores


def _members(holder: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the members with keys in snake case; a key that occurs twice with different values holds both."""
    members: dict[str, JsonValue] = {}
    for name, value in holder.items():
        key = _key(name)
        members[key] = value if key not in members or members[key] == value else [members[key], value]
    return members


def _key(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s_-]+", "_", words.lower())


def _unpacked(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            inner: JsonValue = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return inner
    return value


def _reason(members: Mapping[str, JsonValue]) -> str | None:
    reason = next((members[key] for key in REASON_NAMES.split("|") if members.get(key)), None)
    return reason if isinstance(reason, str) or reason is None else json.dumps(reason, ensure_ascii=False)


def _own_scale(members: Mapping[str, JsonValue]) -> OwnScale | None:
    """Return the scale that an object names for its score: `max_score`, `out_of`, or a range as `"scale": "1-5"`."""
    for key in _SCALE_KEYS:
        if own := _named_scale(members.get(key)):
            return own
    high = next((end for key in _HIGH_KEYS if (end := _end(members.get(key))) is not None), None)
    low = next((end for key in _LOW_KEYS if (end := _end(members.get(key))) is not None), None)
    return None if high is None else OwnScale(low, high)


def _named_scale(named: JsonValue) -> OwnScale | None:
    if isinstance(named, str):
        return OwnScale(None, 100.0) if named.strip().lower() in {"%", "percent", "percentage"} else own_scale_in(named)
    if isinstance(named, dict):
        return _own_scale(_members(named))
    if isinstance(named, list):
        ends = [end for entry in named if (end := finite_number(entry)) is not None]
        return OwnScale(*ends) if len(ends) == 2 else None
    high = finite_number(named)
    return None if high is None else OwnScale(None, high)


def _end(value: JsonValue) -> float | None:
    """Return an end of a scale, as a number or in a text such as `out of 10`."""
    if isinstance(value, str):
        own = own_scale_in(value)
        return own.high if own else None
    return finite_number(value)
