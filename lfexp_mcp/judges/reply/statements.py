"""Find the scores that a reply states in words: in labelled lines, tags, boxes, tables, sentences, and lines alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from lfexp_mcp.judges.reply.context import FINAL, LABEL_NAMES, NUMBER_NAMES, OVERALL, Context, Standing
from lfexp_mcp.judges.reply.values import (
    BARE_NUMBER,
    OwnScale,
    Value,
    leading_label,
    leading_number,
    leading_value,
    numbers_in,
    own_scale_in,
    read_value,
)
from lfexp_mcp.model import Scale

_MAX_MATCHES = 400
"""Of one pattern, so that no reply takes long."""

_MARKED = f"(?P<final>{FINAL})|(?P<overall>{OVERALL})"
_LABEL = (
    r"(?:^|(?<=[.!?;:,|)\u3002]))[^\S\n]{0,20}+(?:(?:(?!\ufffc)[^\w\s]|_){1,8}+[^\S\n]{0,8}+){0,4}+"
    rf"(?P<label>(?:(?:the|my|our|assigned|given)\s++)?(?:(?:{_MARKED})(?:\s*+(?:NAMES)SUFFIX)?+|(?:NAMES)SUFFIX))(?![^\W_])"
    r"(?:\s++(?:for|of)\s++(?:this\s++|the\s++)?(?:\w++\s?){1,3}?)?[^\S\n]{0,20}+[*_`]*+[^\S\n]{0,20}+"
    r"(?:\((?P<range>[^)\n]{0,60})\)[*_]*+)?[^\S\n]{0,20}+"
    r"(?:(?:[:=|\u2192]|=>|->|(?<=\s)[-\u2013\u2014](?=\s)|(?:is|est|es|ist|è)\b)[^\S\n]{0,20}+[*_]*+(?:\n[^\S\n]{0,20}+)?"
    r"|(?P<heading>\n\s{0,20}+)|(?P<bare>(?=\d)))(?=(?P<value>[^\n]{1,160}))"
)
_SUFFIX = (
    r"(?:\s++(?:score|rating|grade|verdict|assessment|evaluation|judge?ment|decision|finale?|given|assigned|awarded))?+"
)
_SENTENCE = (
    r"\b(?:I(?:['\u2019](?:d|ll|m))?\s+(?:(?:would|will|shall|therefore|thus|hereby|now|have\s+to|am|going\s+to|can)\s+){0,3}"
    r"(?:giv(?:e|ing)|rat(?:e|ing)|scor(?:e|ing)|assign(?:ing)?|grad(?:e|ing)|award(?:ing)?|mark|evaluate|judge|say|"
    r"settle\s+on|go\s+with|classify|label)"
    r"|ich\s+(?:ver)?gebe|je\s+(?:donne|mets|attribue)|(?:le\s+doy|otorgo|asigno|atribuo|assegno|attribuisco|ставлю)"
    r"|(?:it|(?:this|the)\s+(?:response|answer|output|submission|reply|translation|summary|code|essay))\s+"
    r"(?:deserves|earns|gets|receives|merits|warrants)"
    rf"|(?:the|my|our)\s+(?:(?:{_MARKED})\s+)?(?:NAMES)(?:\s+(?:score|rating|grade|verdict))?"
    r"(?:\s+(?:for|of)\s[^.!?\n]{0,40}?)?\s+is)\b(?P<rest>[^!?\n]{1,120})"
)
_ASSIGNED = (
    r"\ban?\s+(?:score|rating|grade|mark)\s+of\s+(?P<value>[^.!?\n]{1,30}?)\s+(?:is|seems|feels)\s+(?:\w+\s+)?"
    r"(?:given|assigned|awarded|appropriate|warranted|justified|fair|fitting|right)\b"
)
_TAG = (
    r"<(?P<tag>(?:(?P<final>final)_?|(?P<overall>overall)_?)?(?:score|rating|grade|verdict|label|result|NAMES))>"
    r"\s*+(?P<value>[^<]{1,60}+)</(?P=tag)>"
)
_ANSWER_TAG = re.compile(r"<answer>\s*+(?P<value>[^<]{1,60}+)</answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?([^{}]{1,60}?)\}?\s*\}|\[\[([^\[\]\n]{1,40})\]\]")
_TABLE = re.compile(
    r"^[^\S\n]*\|?(?P<head>[^\n|]*+\|[^\n]*+)\n[^\S\n]*\|?[ :|-]*-[ :|-]*\n(?P<row>[^\n]*+)(?P<more>\n[^\S\n]*\|)?",
    re.MULTILINE,
)
_DOUBT = re.compile(
    r"\b(?:at\s+(?:least|most|best)|more\s+than|less\s+than|no\s+more|up\s+to|between|above|below|over|under|not|never|almost|nearly|"
    r"maybe|perhaps|possibly|either|minimum|lower|higher|n['\u2019]t)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_THEREFORE = re.compile(
    r"(?:^|[.!?]\s)[^\w\n]{0,20}(?:therefore|so|thus|hence|overall|in conclusion|verdict)[,:]?\s+"
    r"(?P<value>[^\n]{1,80})",
    re.IGNORECASE | re.MULTILINE,
)
_DECLARED = re.compile(
    r"^[^\w\n]{0,20}(?:(?:rating\s|score\s)?scale|max(?:imum)?(?:\s(?:score|points|rating))?)[*_]*\s*[:=][*_]*\s*([^\n]{1,40})$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that names the scale of the reply's scores, such as `Scale: 1-5`."""
_NAMES_SCALE = re.compile(r"scale|^\W*out\s+of\b", re.IGNORECASE)
_OPENING = re.compile(r"\W*\d[\d.,]*\s*(?:/|%|out of|points?\b|\s[-\u2013\u2014]\s)")
_PARTS = {"criterion", "criteria", "aspect", "dimension"}
"""First heading of a table with one score per row."""
_LAST_SENTENCE = re.compile(r"(?:^|(?<=[.!?])\s|\n)([^.!?\n]{1,60}(?:\.\d[^.!?\n]{0,20})?[.!]?)\s*+\Z")


@dataclass(frozen=True, slots=True)
class Statement:
    """A score as a reply states it, in words or in an object."""

    at: int
    """Where in the reply."""
    value: Value | None
    """None if it says that there is no score, or several that differ."""
    standing: Standing
    finality: int
    """2 if it is called final, 1 if overall, else 0."""
    reason: str | None = None
    """The reason in the object."""
    is_object: bool = False


_Candidate = tuple[int, int, Value | None, Standing, int]
"""Start, end, value, highest standing, and finality of what may be a score."""


def statements_in(text: str, scale: Scale, score_name: str, context: Context) -> Iterator[Statement]:
    """Find the scores that a reply states in words.

    Args:
        text: The reply, its objects blanked out.
        score_name: Name of the score, by which the judge may call it.
        context: The context of the same text.
    """
    find = _Finder(text, scale, score_name, context)
    for candidates in (find.labelled(), find.tagged(), find.in_tables(), find.in_sentences(), find.in_lines()):
        for start, end, value, highest, finality in candidates:
            if value is not None:
                standing = min(highest, context.standing(start, end))
                yield Statement(start, value, standing, max(finality, context.finality(start)))


class _Finder:
    def __init__(self, text: str, scale: Scale, score_name: str, context: Context) -> None:
        self._text = text
        self._scale = scale
        self._context = context
        kinds = NUMBER_NAMES if scale.kind == "NUMERIC" else f"{NUMBER_NAMES}|{LABEL_NAMES}"
        self._score_name = re.escape(score_name).replace("_", r"[\s_]").replace(r"\-", r"[\s_-]")
        self._names = f"{self._score_name}|{kinds}"
        declared = _DECLARED.search(text)
        self._declared = own_scale_in(declared[1]) if declared else None

    def labelled(self) -> Iterator[_Candidate]:
        """Read `Score: 8` and the like."""
        for match in self._matches(_compile(_LABEL, self._names)):
            own = self._own_scale(match.start(), match["range"])
            line = match["value"]
            # Without a colon, `Score 8` may begin any sentence; `Score 8/10` is a score.
            if match["bare"] and not re.search(r"[/%★]|out of", line):
                continue
            read = read_value if match["heading"] or match["bare"] else leading_value
            value = read(line, self._scale, own)
            yield match.start("label"), match.end("value"), value, Standing.STATED, _finality(match)

    def tagged(self) -> Iterator[_Candidate]:
        r"""Read `<score>8</score>`, `\boxed{8}` and `[[8]]`; `<answer>8</answer>` only if nothing else is a score."""
        for match in self._matches(_compile(_TAG, self._score_name)):
            yield *match.span(), read_value(match["value"], self._scale), Standing.STATED, _finality(match)
        for match in self._matches(_BOXED):
            yield *match.span(), read_value(match[1] or match[2], self._scale), Standing.STATED, 0
        for match in self._matches(_ANSWER_TAG):
            yield *match.span(), read_value(match["value"], self._scale), Standing.WEAK, 0

    def in_tables(self) -> Iterator[_Candidate]:
        """Read tables whose only row has a column for the score."""
        for match in self._matches(_TABLE):
            heads, cells = (
                [cell.strip(" *_`") for cell in match[part].strip().strip("|").split("|")] for part in ("head", "row")
            )
            if match["more"] or len(heads) != len(cells) or heads[0].lower() in _PARTS:
                continue
            for head, cell in zip(heads, cells, strict=True):
                if re.fullmatch(self._names, head, re.IGNORECASE):
                    yield *match.span("row"), read_value(cell, self._scale), Standing.STATED, 0

    def in_sentences(self) -> Iterator[_Candidate]:
        """Read `I would give it an 8.` and the like."""
        for match in self._matches(_compile(_SENTENCE, self._names)):
            yield *match.span(), self._said(match.start(), match["rest"]), Standing.SAID, _finality(match)
        for match in self._matches(_compile(_ASSIGNED, "")):
            yield *match.span(), read_value(match["value"], self._scale), Standing.SAID, 0
        if self._scale.kind != "NUMERIC":
            for match in self._matches(_THEREFORE):
                label = leading_label(match["value"], self._scale, own_only=True)
                yield match.start("value"), match.end(), label, Standing.SAID, 0

    def in_lines(self) -> Iterator[_Candidate]:
        """Read the first line, the last one, and the last sentence, if they are nothing but the score."""
        start = len(self._text) - len(self._text.lstrip())
        first = self._text[start:].partition("\n")[0]
        if "\n" in self._text.strip() and not first.rstrip().endswith("."):
            yield self._line(start, first, read_value(first, self._scale))
        if self._scale.kind != "NUMERIC":
            yield self._line(start, first, leading_label(first, self._scale, own_only=True))
        elif _OPENING.match(first):
            yield self._line(start, first, leading_number(first, self._scale))
        ending = _LAST_SENTENCE.search(self._text, max(0, len(self._text) - 200))
        if ending:
            yield self._line(ending.start(1), ending[1], read_value(ending[1], self._scale))

    def _line(self, at: int, line: str, value: Value | None) -> _Candidate:
        return at, at + len(line), value, Standing.WEAK if BARE_NUMBER.fullmatch(line) else Standing.STATED, 0

    def _said(self, at: int, rest: str) -> Value | None:
        """Read the only value of a sentence."""
        sentence = re.split(r"[.;](?=\s|$)", rest)[0]
        if self._scale.kind != "NUMERIC":
            head = re.match(r"[^.\n]*?\bas\s+(?:an?\s+)?|\s*+(?:an?\s+)?", sentence)
            return leading_label(sentence[head.end() :], self._scale) if head else None
        if _DOUBT.search(self._context.clause(at)):
            return None
        numbers = numbers_in(sentence)
        if len(numbers) != 1 or _DOUBT.search(sentence[: numbers[0].end()]):
            return None
        plain = re.sub(r"[*_`$]", "", sentence)
        found = numbers_in(plain)
        own = self._own_scale(at, None)
        return leading_number(plain[found[0].start() :], self._scale, own) if len(found) == 1 else None

    def _own_scale(self, at: int, bracketed: str | None) -> OwnScale | None:
        """Return the scale in brackets after a label, in the sentence before, or in a line of its own."""
        if bracketed and (own := own_scale_in(bracketed)):
            return own
        sentence = self._context.sentence(at)
        return (own_scale_in(sentence) if _NAMES_SCALE.search(sentence) else None) or self._declared

    def _matches(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        return islice(pattern.finditer(self._text), _MAX_MATCHES)


def _finality(match: re.Match[str]) -> int:
    return 2 if match["final"] else 1 if match["overall"] else 0


@lru_cache(maxsize=256)
def _compile(pattern: str, names: str) -> re.Pattern[str]:
    written = pattern.replace("SUFFIX", _SUFFIX).replace("NAMES", names)
    return re.compile(written, re.IGNORECASE | re.MULTILINE)
