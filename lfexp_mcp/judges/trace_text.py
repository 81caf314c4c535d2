"""What a task did, as a judge reads it: within a budget of characters, with each cut stated where it is made.

Every observation is a line of its own, and its texts are JSON, which has no line ends: nothing that a task wrote can
look like another observation, or like a statement of ours. If all do not fit, the frame stays (names, types, errors)
and the longest texts are cut first; if the frame does not fit, errors, the first and the last observations stay.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.evaluators.trajectories import Broken, calls_of, steps_of_trace
from lfexp_mcp.model import Observation, Trace

MIN_BUDGET = 500
"""With less, the statements about what is left out would leave nothing of the trace."""
DEFAULT_BUDGET = 20_000
MAX_BUDGET = 1_000_000
MAX_NAME_CHARS = 100
RESERVED_CHARS = 300
"""Reserved for the statement at the beginning of a text, and the one about observations left out."""
CUT_CHARS = 95
"""Reserved for the statement about one cut."""
MIN_SHOWN_CHARS = 30

_UNSEEN = re.compile("[\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\x7f-\x9f]")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,[A-Za-z0-9+/=\\n]{200,}")


@dataclass(frozen=True, slots=True)
class TraceText:
    """A text for a judge."""

    text: str
    cut: str | None = None
    """What of the whole it shows; None for all."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A text of an observation that may be cut."""

    label: str
    head: str
    tail: str
    length: int

    @classmethod
    def of(cls, label: str, value: JsonValue, budget: int) -> "_Part":
        """Write a value as JSON; of a text far beyond the budget only the ends, since the rest is never shown."""
        if isinstance(value, str) and len(value) > 2 * budget:
            head, tail = (json.dumps(end, ensure_ascii=False) for end in (value[:budget], value[-budget:]))
            return cls(label, _visible(head[:-1]), _visible(tail[1:]), len(value))
        text = _visible(json.dumps(value, ensure_ascii=False))
        return cls(label, text, "", len(text))

    def shown(self, limit: int) -> str:
        """Return the part on at most about `limit` characters, beside the statement of what is left out."""
        if self.length <= limit and not self.tail:
            return f"{self.label}: {self.head}"
        if limit < MIN_SHOWN_CHARS:
            return f"{self.label} ({self.length:,} characters, left out)"
        ends = self.tail or self.head
        head, tail = _whole_words(self.head[: limit // 2], ends[-(limit - limit // 2) :])
        left = self.length - len(head) - len(tail)
        return f"{self.label} ({left:,} of {self.length:,} characters left out between the two ends): {head} […] {tail}"


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the frame, and the texts below it."""

    line: str
    parts: tuple[_Part, ...]
    name: str
    kept: bool = False
    """Whether it is among the last to be left out."""

    @property
    def size(self) -> int:
        return len(self.line) + 1 + sum(len(part.label) + 6 + part.length for part in self.parts)

    @property
    def frame(self) -> int:
        return len(self.line) + 1 + sum(len(part.label) + CUT_CHARS for part in self.parts)


def trace_text(trace: Trace, budget: int = DEFAULT_BUDGET) -> TraceText:
    """Write the observations of a task.

    Args:
        budget: Characters that the text may have, from `MIN_BUDGET` on.
    """
    known = {each.id: number for number, each in enumerate(trace.observations, 1)}
    last = max((at for at, each in enumerate(trace.observations) if each.type == "GENERATION"), default=-1)
    rows = []
    for at, each in enumerate(trace.observations):
        texts = (("input", each.input), ("output", each.output))
        parts = [_Part.of(label, value, budget) for label, value in texts if value is not None]
        kept = each.level not in {None, "DEFAULT", "DEBUG"} or at in {0, last, len(trace.observations) - 1}
        rows.append(_Row(_line(at + 1, each, known), tuple(parts), each.name or "", kept))
    return _fit("observation", rows, budget) if rows else TraceText("The task recorded no observations.")


def tool_calls_text(trace: Trace, budget: int = DEFAULT_BUDGET) -> TraceText:
    """Write the tool calls of a task, each with its arguments and result; results are cut first."""
    tools = [each for each in trace.observations if each.type == "TOOL"]
    rows = []
    known = {each.id: number for number, each in enumerate(tools, 1)}
    for number, each in enumerate(tools, 1):
        within = f" within {known[each.parent_id]}" if each.parent_id in known else ""
        silent = ", no result recorded" if each.output is None else ""
        texts = (("arguments", each.input), ("result", each.output))
        parts = [_Part.of(label, value, budget) for label, value in texts if value is not None]
        line = f"{number}. {_name(each.name)}{within}{_status(each)}{silent}"
        rows.append(_Row(line, tuple(parts), each.name or "", each.level == "ERROR"))
    if tools:
        return _fit("tool call", rows, budget)
    for number, call in enumerate(calls_of(steps_of_trace(trace)), 1):
        given = "not JSON" if isinstance(call.arguments, Broken) else call.arguments
        line = f"{number}. {_name(call.name)}, asked for by the model; whether it was made is not recorded"
        rows.append(_Row(line, (_Part.of("arguments", given, budget),), call.name))
    return _fit("tool call", rows, budget) if rows else TraceText("The task recorded no tool calls.")


def _line(number: int, observation: Observation, known: dict[str, int]) -> str:
    parent = observation.parent_id
    within = f" within {known[parent]}" if parent in known else " within one that is not recorded" if parent else ""
    seconds = observation.seconds
    took = ", not ended" if seconds is None else f", {seconds:.3g} s" if seconds >= 0 else ""
    usage = [f"{side} {observation.usage[side]:g}" for side in ("input", "output") if side in observation.usage]
    tokens = f", tokens: {', '.join(usage)}" if usage else ""
    model = f", model {_name(observation.model)}" if observation.model else ""
    silent = ", no output" if observation.output is None else ""
    head = f"{number}. {_word(observation.type)} {_name(observation.name)}{within}{_status(observation)}"
    return f"{head}{model}{tokens}{took}{silent}"


def _status(observation: Observation) -> str:
    if observation.level in {None, "DEFAULT"}:
        return ""
    message = f": {_short(observation.status_message, 5 * MAX_NAME_CHARS)}" if observation.status_message else ""
    return f", {_word(observation.level or '')}{message or ' (no message)'}"


def _word(text: str) -> str:
    """Write a type or level: as it is where it is one word."""
    return text if re.fullmatch(r"[A-Za-z_]{1,40}", text) else _name(text)


def _name(name: str | None) -> str:
    return _short(name or "", MAX_NAME_CHARS)


def _short(text: str, limit: int) -> str:
    cut = f" (cut from {len(text):,} characters)" if len(text) > limit else ""
    return _visible(json.dumps(text[:limit], ensure_ascii=False)) + cut


def _visible(text: str) -> str:
    """Escape characters that cannot be seen or turn the direction of a text, and name what is encoded in base64."""
    if "base64," in text:
        text = _DATA_URL.sub(lambda found: f"[{found[1]} in base64, {len(found[0]):,} characters left out]", text)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode("utf-8", "replace").decode()


def _whole_words(head: str, tail: str) -> tuple[str, str]:
    """Shorten the ends of a cut to whole words and numbers, so that 12345 is not read as 123, where words are short."""
    shorter = re.sub(r"[\w.,\\-]{1,40}\Z", "", head)
    head = shorter if len(shorter) > len(head) // 2 else head.rstrip("\\")
    longer = re.sub(r"\A[\w.,-]{1,40}", "", tail)
    tail = longer if len(longer) > len(tail) // 2 else tail
    while tail and (unicodedata.combining(tail[0]) or tail[0] in "\u200d\ufe0f"):
        tail = tail[1:]
    return head.rstrip(), tail.lstrip()


def _fit(what: str, rows: Sequence[_Row], budget: int) -> TraceText:
    total = sum(row.size for row in rows)
    head = f"{len(rows):,} {what}{'s' if len(rows) > 1 else ''}, in order."
    if len(head) + 1 + total <= budget and not any(part.tail for row in rows for part in row.parts):
        return TraceText("\n".join([head, *_lines(rows, lambda part: part.length)]))
    room = budget - RESERVED_CHARS
    shown = _choose(rows, room)
    parts = [part for row in shown if row is not None for part in row.parts]
    room -= sum(row.frame for row in shown if row is not None)
    limits: dict[int, int] = {}
    # What was asked for is worth more than what came back.
    for first in (True, False):
        some = [part for part in parts if (part.label == "arguments") is first]
        level = _water_level([part.length for part in some], room)
        for part in some:
            fits = part.length <= level or level >= MIN_SHOWN_CHARS
            limits[id(part)] = min(part.length, level) if fits else 0
            room -= limits[id(part)]
    left = [row for row, one in zip(rows, shown, strict=True) if one is None]
    characters = sum(part.length for row in rows for part in row.parts)
    cut = (
        f"{len(rows) - len(left):,} of {len(rows):,} {what}s, up to {sum(limits.values()):,} of {characters:,} "
        "characters of their texts"
    )
    lines = [f"{head} Shown are {cut}."]
    counts = ", ".join(f"{_name(name)} x{count:,}" for name, count in Counter(row.name for row in left).most_common(3))
    for at, row in enumerate(shown):
        if row is not None:
            lines += _lines([row], lambda part: limits[id(part)])
        elif at == 0 or shown[at - 1] is not None:
            gap = next((end for end in range(at, len(shown)) if shown[end] is not None), len(shown)) - at
            lines.append(f"[{gap:,} left out]")
    if left:
        lines[0] += f" Left out are, among others: {counts[:120]}."
    return TraceText("\n".join(lines)[:budget], cut)


def _lines(rows: Iterable[_Row], limit: Callable[[_Part], int]) -> list[str]:
    return [line for row in rows for line in (row.line, *(f"   {part.shown(limit(part))}" for part in row.parts))]


def _choose(rows: Sequence[_Row], room: int) -> list[_Row | None]:
    """Choose the rows whose frame fits, those to keep first, then from both ends inwards."""
    if sum(row.frame for row in rows) <= room:
        return list(rows)
    inwards = sorted(range(len(rows)), key=lambda at: min(at, len(rows) - 1 - at))
    order = [*(at for at in inwards if rows[at].kept), *(at for at in inwards if not rows[at].kept)]
    chosen: list[_Row | None] = [None] * len(rows)
    for at in order:
        # Each row may end a gap, which is stated on a line of its own.
        needed = rows[at].frame + 24
        if needed <= room:
            chosen[at] = rows[at]
            room -= needed
    return chosen


def _water_level(lengths: Sequence[int], room: int) -> int:
    """Return the length to which texts are cut so that all fit: short ones stay whole, long ones become equal."""
    level, left = 0, max(room, 0)
    for rank, length in enumerate(sorted(lengths)):
        level = left // (len(lengths) - rank)
        if length > level:
            return level
        left -= length
    return max(lengths, default=0) if lengths else 0
