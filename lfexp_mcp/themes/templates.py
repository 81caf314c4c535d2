"""Texts that differ only in what varies from item to item, such as `user 17 not found`: one template for all."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

MAX_TEXT_CHARS = 1_000
"""Texts are told apart by this much of them."""
MAX_PARTS = 12
"""Values, or combinations of values, that are told apart within a template; of more, some coincide by chance."""

_SLOT = re.compile(
    r"""(?P<kept>\b(?:code|status|https?|errno|signal)[ :=#]{1,3}\d{1,5}\b)
      | (?P<quoted>"[^"\n]{1,200}"|(?<!\w)'[^'\n]{1,200}'(?!\w)|`[^`\n]{1,200}`|[„“][^„“”\n]{1,200}[“”]|«[^»\n]{1,200}»)
      | (?P<url>https?://\S+)
      | (?P<date>\b\d{4}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?\b)
      | (?P<address>\b0x[0-9a-f]+\b)
      | (?P<id>\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\b[a-z]{2,10}[_-](?=[a-z]*\d)[a-z0-9]{10,}\b)
      | (?P<path>(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,})
      | (?P<number>(?<![\w.])(?<!\w-)[-+]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?(?:%|[mun]?s|min|h|[kmg]i?b)?(?!\w))""",
    re.VERBOSE | re.IGNORECASE,
)
"""What may vary between texts of one template. A status, an exit code or a signal is what the text says: it is kept."""
_OF_A_SCORE = re.compile(
    r"<(?:quoted|url|date|address|id|path|number)>|\b(?:score|rating|grade|points?|out|of)\b", re.IGNORECASE
)
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Timeout|Exit|Interrupt)): \S")


@dataclass(frozen=True, slots=True)
class TextGroup:
    """Texts of one template."""

    template: str
    """Their text; where they differ stands what differs, such as `<number>`."""
    indices: tuple[int, ...]
    """Ascending."""

    @property
    def says_more_than_a_score(self) -> bool:
        """Whether the template has words, and others than those of `Score: 3 out of 10`."""
        return re.search(r"[^\W\d_]", _OF_A_SCORE.sub("", self.template)) is not None


@dataclass(frozen=True, slots=True)
class _Text:
    index: int
    literals: tuple[str, ...]
    """What stands before, between and after the slots."""
    slots: tuple[tuple[str, str], ...]
    """Name and value of each."""


def group_texts(texts: Sequence[str], levels: Sequence[Callable[[str], str]] = (str,)) -> list[TextGroup]:
    """Group texts that say the same, the largest group first.

    Numbers, quotes, ids, paths and the like may differ within a group. Where such a part has few values, most of them
    several times, each value is a group of its own, since it is what the texts say.

    Args:
        texts: The texts, told apart regardless of case.
        levels: What of a text to group by, such as the whole of it and then its first sentence: a text that is alone on
            one level is tried on the next, and stands for itself if it is alone on all.

    Example:
        >>> [group.template for group in group_texts(["got 3 of 5", "got 4 of 5"])]
        ['got <number> of 5']
    """
    parse = cache(_parse)
    groups: list[TextGroup] = []
    alone: dict[int, TextGroup] = {}
    left = list(range(len(texts)))
    for level in levels:
        found = list(_on_one_level([_Text(index, *parse(level(texts[index]))) for index in left]))
        groups += [group for group in found if len(group.indices) > 1]
        alone |= {group.indices[0]: alone.get(group.indices[0], group) for group in found if len(group.indices) == 1}
        left = [group.indices[0] for group in found if len(group.indices) == 1]
    groups += [alone[index] for index in left]
    return sorted(groups, key=lambda group: (-len(group.indices), group.template))


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, all of it if it is the only one."""
    return re.split(r"(?<=[.!?。！？])\s+|\n", text.strip(), maxsplit=1)[0]  # noqa: RUF001


def message_of(error: str) -> str:
    """Return the line of an error that says what is wrong: the last of a traceback, else the first."""
    lines = [line.strip() for line in error.splitlines() if line.strip()] or [""]
    return lines[-1 if lines[0].startswith(("Traceback", 'File "')) else 0]


def exception_name(error: str) -> str:
    """Return the name of the exception that an error begins with, all of its message if there is none."""
    message = message_of(error)
    found = _EXCEPTION.match(message)
    return f"{found[1]}: …" if found else message


def _on_one_level(texts: Sequence[_Text]) -> Iterator[TextGroup]:
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[_Text]] = {}
    for text in texts:
        key = tuple(literal.casefold() for literal in text.literals), tuple(name for name, _ in text.slots)
        alike.setdefault(key, []).append(text)
    for members in alike.values():
        told_apart = [place for place in range(len(members[0].slots)) if _is_categorical(members, place)]
        parts: dict[tuple[str, ...], list[_Text]] = {}
        for text in members:
            parts.setdefault(tuple(text.slots[place][1] for place in told_apart), []).append(text)
        # Too many combinations tell nothing apart.
        for part in parts.values() if len(parts) <= MAX_PARTS else (members,):
            yield TextGroup(_template(part), tuple(text.index for text in part))


def _is_categorical(texts: Sequence[_Text], place: int) -> bool:
    """Whether a slot has few values, most of them several times."""
    values = Counter(text.slots[place][1] for text in texts)
    repeated = sum(count for count in values.values() if count > 1)
    return 1 < len(values) <= min(MAX_PARTS, (len(texts) + 1) // 2) and repeated * 3 >= len(texts) * 2


def _template(texts: Sequence[_Text]) -> str:
    literals = min(Counter(text.literals for text in texts).items(), key=lambda found: (-found[1], found[0]))[0]
    shown = [literals[0]]
    for place, literal in enumerate(literals[1:]):
        values = {text.slots[place][1] for text in texts}
        shown += [values.pop() if len(values) == 1 else f"<{texts[0].slots[place][0]}>", literal]
    return "".join(shown)


def _parse(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the literals and slots of a text."""
    text = " ".join(unicodedata.normalize("NFC", text[:MAX_TEXT_CHARS]).split()).rstrip(" :.")
    literals, slots, end = [""], list[tuple[str, str]](), 0
    for found in _SLOT.finditer(text):
        literals[-1] += text[end : found.start()]
        if found.lastgroup is None or found.lastgroup == "kept":
            literals[-1] += found[0]
        else:
            slots.append((found.lastgroup, found[0]))
            literals.append("")
        end = found.end()
    literals[-1] += text[end:]
    return tuple(literals), tuple(slots)
