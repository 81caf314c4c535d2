"""Read the score that a JSON object in a reply holds."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.judges.reply.numbers import OwnScale, own_scale_in
from lfexp_mcp.judges.reply.values import Value, leading_value, read_value
from lfexp_mcp.judges.reply.words import FINAL, LABEL_NAMES, NUMBER_NAMES, OVERALL, REASON_KEYS
from lfexp_mcp.model import Scale

_OF_OTHERS = frozenset(
    {"output", "candidate", "submission", "example", "examples", "quote", "quoted", "expected", "expected_output"}
    | {"reference", "metadata", "previous", "draft", "format", "schema", "rubric", "self_assessment"}
)
"""Keys of what is not the judge's own verdict."""
_PART_KEYS = frozenset({"criterion", "criteria", "aspect", "dimension", "metric", "item", "sample", "step"})
"""Keys of one score among several."""
_HIGH_KEYS = (
    "max_score",
    "score_max",
    "max",
    "maximum",
    "maximum_score",
    "max_value",
    "out_of",
    "max_points",
    "max_rating",
    "points_possible",
)
_LOW_KEYS = ("min_score", "score_min", "min", "minimum", "minimum_score", "min_value")
_SCALE_KEYS = ("scale", "score_scale", "rating_scale", "range", "score_range", "unit")
_ARGUMENTS = frozenset({"arguments", "parameters", "input", "content"})
"""Keys under which a tool call holds what it is called with, perhaps as a text of JSON."""
_REFUSAL = re.compile(
    r"\W*(?:n/?a|none|null|unknown|undetermined|not applicable|cannot .*|unable .*)?\W*", re.IGNORECASE
)
_NAMES = "|".join((*NUMBER_NAMES, *LABEL_NAMES, "value", "number"))
_MARKED = re.compile(
    rf"(?:(?P<final>{'|'.join(FINAL)})|(?P<overall>{'|'.join(OVERALL)}))(?:_?(?:{_NAMES}))?|final_(?:{_NAMES})",
    re.IGNORECASE,
)
_LABEL = re.compile("|".join(LABEL_NAMES), re.IGNORECASE)
_NAMED = re.compile(rf"(?:{_NAMES})(?:_(?:score|rating|value))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HeldScore:
    """A score in an object."""

    value: Value | None
    """None where the object says that there is no score, or states several that differ."""
    finality: int
    """2 for one called final, 1 for one called overall, else 0."""
    reason: str | None


def scores_held(found: JsonValue, scale: Scale, score_name: str) -> list[HeldScore]:
    """Find the score of an object, or the scores of an array.

    An object's own members come first, then the objects within it; those that are called by the score's name, or are
    marked as final, before all others. Objects of several criteria hold no score.

    Args:
        found: The object or array.
        scale: The judge's scale.
        score_name: Name of the score, by which the judge may call it.
    """
    return _Search(scale, _key(score_name)).within(found, None, None)


class _Search:
    def __init__(self, scale: Scale, score_name: str) -> None:
        self._scale = scale
        self._names = (score_name, f"{score_name}_score", f"{score_name}_rating")

    def within(self, found: JsonValue, own: OwnScale | None, reason: str | None) -> list[HeldScore]:
        if isinstance(found, list):
            parts = [held for entry in found for held in self.within(entry, own, reason)]
            several = len(found) > 1 and any(
                isinstance(entry, dict) and _PART_KEYS & _members(entry).keys() for entry in found
            )
            return [] if several else parts
        if not isinstance(found, dict):
            return []
        members = _members(found)
        own = _own_scale(members) or own
        reason = _reason_in(members) or reason
        held = self._own_score(members, own, reason)
        return [held] if held else self._inner(members, own, reason)

    def _own_score(
        self, members: Mapping[str, JsonValue], own: OwnScale | None, reason: str | None
    ) -> HeldScore | None:
        refused: HeldScore | None = None
        for key, finality in self._keys(members):
            value = _single(members[key])
            if isinstance(value, dict):
                inner = _members(value)
                held = self._own_score(inner, _own_scale(inner) or own, _reason_in(inner) or reason)
                if held is not None:
                    return HeldScore(held.value, max(finality, held.finality), held.reason)
                continue
            if _states_several(value) or (key == "score" and self._may_be_out_of_total(members)):
                return HeldScore(None, finality, reason)
            read = self._read(value, own)
            if read is not None:
                return HeldScore(read, finality, reason)
            if _is_refusal(value):
                refused = refused or HeldScore(None, finality, reason)
            elif key == "score" and self._scale.kind == "NUMERIC":
                return None
        return refused or self._passed(members, reason)

    def _read(self, value: JsonValue, own: OwnScale | None) -> Value | None:
        if isinstance(value, str):
            return leading_value(value, self._scale, own)
        return None if isinstance(value, list) else read_value(value, self._scale, own)

    def _passed(self, members: Mapping[str, JsonValue], reason: str | None) -> HeldScore | None:
        """Read `{"pass": true}`, where passing is what the scale asks for."""
        if self._scale.kind != "BOOLEAN" or self._scale.categories[0].label.casefold() != "pass":
            return None
        said = next((members[key] for key in ("pass", "passed", "passes", "is_pass") if key in members), None)
        return HeldScore(said, 0, reason) if isinstance(said, bool) else None

    def _keys(self, members: Mapping[str, JsonValue]) -> list[tuple[str, int]]:
        """The keys that may hold the score, the likeliest first, with how final they are."""
        marked = [(key, 2 if match["overall"] is None else 1) for key in members if (match := _MARKED.fullmatch(key))]
        if "score" in members:
            # Beside a score, a total is more likely what it is out of.
            marked = [entry for entry in marked if entry[0] != "total"]
        plain = dict.fromkeys(["score", *self._names, *filter(_NAMED.fullmatch, members)])
        if self._scale.kind == "NUMERIC":
            # A number that is called an answer or a result is not the judge's, but these may hold its score.
            plain = {key: None for key in plain if not _LABEL.fullmatch(key) or isinstance(members.get(key), dict)}
        ordered = sorted(marked, key=lambda entry: -entry[1]) + [(key, 0) for key in plain]
        return [(key, finality) for key, finality in ordered if key in members]

    def _may_be_out_of_total(self, members: Mapping[str, JsonValue]) -> bool:
        total = members.get("total")
        return _is_number(total) and total not in {self._scale.high, members["score"]}

    def _inner(self, members: Mapping[str, JsonValue], own: OwnScale | None, reason: str | None) -> list[HeldScore]:
        named = [key for key in members if key in self._names]
        marked = [key for key in members if _MARKED.fullmatch(key)]
        called = "name" in members or members.get("type") == "tool_use"
        others = [key for key in members if key not in _OF_OTHERS and (key != "input" or called)]
        held: list[HeldScore] = []
        for key in named or marked or others:
            held += self.within(_unpacked(members[key]) if key in _ARGUMENTS else members[key], own, reason)
        final = [each for each in held if each.finality]
        if len(held) > 1 and not final and not any(isinstance(members[key], list) for key in others):
            return [HeldScore(None, 0, reason)]
        return final or held


def _members(holder: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The members by their keys in one spelling; of a key that stands twice, both values where they differ."""
    members: dict[str, JsonValue] = {}
    for name, value in holder.items():
        key = _key(name)
        members[key] = value if key not in members or members[key] == value else [members[key], value]
    return members


def _key(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s_-]+", "_", words.lower())


def _is_refusal(value: JsonValue) -> bool:
    return value is None or (isinstance(value, str) and _REFUSAL.fullmatch(value) is not None)


def _single(value: JsonValue) -> JsonValue:
    """The entry of a list of one, such as `[8]`."""
    return value[0] if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict | list) else value


def _states_several(value: JsonValue) -> bool:
    return isinstance(value, list) and bool(value) and not any(isinstance(entry, dict | list) for entry in value)


def _unpacked(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            inner: JsonValue = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return inner
    return value


def _reason_in(members: Mapping[str, JsonValue]) -> str | None:
    reason = next((members[key] for key in REASON_KEYS if members.get(key)), None)
    return reason if isinstance(reason, str) or reason is None else json.dumps(reason, ensure_ascii=False)


def _own_scale(members: Mapping[str, JsonValue]) -> OwnScale | None:
    """The scale that an object names for its score: `max_score`, `out_of`, or a range such as `"scale": "1-5"`."""
    for named in (members[key] for key in _SCALE_KEYS if key in members):
        if own := _scale_named(named):
            return own
    high, low = _first_number(members, _HIGH_KEYS), _first_number(members, _LOW_KEYS)
    return None if high is None else OwnScale(low, high)


def _scale_named(named: JsonValue) -> OwnScale | None:
    if isinstance(named, str):
        return OwnScale(None, 100.0) if named.strip().lower() in {"%", "percent", "percentage"} else own_scale_in(named)
    if isinstance(named, dict):
        return _own_scale(_members(named))
    ends = [entry for entry in named if _is_number(entry)] if isinstance(named, list) else []
    if len(ends) == 2:
        return OwnScale(float(str(ends[0])), float(str(ends[1])))
    return OwnScale(None, float(str(named))) if _is_number(named) else None


def _first_number(members: Mapping[str, JsonValue], keys: tuple[str, ...]) -> float | None:
    return next(_numbers(members, keys), None)


def _numbers(members: Mapping[str, JsonValue], keys: tuple[str, ...]) -> Iterator[float]:
    for key in keys:
        value = members.get(key)
        if _is_number(value):
            yield float(str(value))
        elif isinstance(value, str) and (own := own_scale_in(value)):
            yield own.high


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
