r"""Find the scores that a reply states in words: labelled lines, tags, boxes, tables, sentences, lines of their own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from lfexp_mcp.judges.reply.context import Context, Standing
from lfexp_mcp.judges.reply.labels import leading_label
from lfexp_mcp.judges.reply.numbers import BARE_NUMBER, OwnScale, leading_number, numbers_in, own_scale_in
from lfexp_mcp.judges.reply.values import Value, leading_value, read_value
from lfexp_mcp.judges.reply.words import FINAL, LABEL_NAMES, NUMBER_NAMES, OVERALL
from lfexp_mcp.model import Scale

_MOST = 400
"""Matches of one kind that are looked at."""

_MARKS = f"(?P<final>{'|'.join(FINAL)})|(?P<overall>{'|'.join(OVERALL)})"
_LABEL = (
    r"(?:^|(?<=[.!?;:,|)\u3002]))[^\S\n]{0,20}+(?:(?:(?!\ufffc)[^\w\s]|_){1,8}+[^\S\n]{0,8}+){0,4}+"
    rf"(?P<label>(?:(?:the|my|our|assigned|given)\s++)?(?:(?:{_MARKS})(?:\s*+(?:NAMES)SUFFIX)?+|(?:NAMES)SUFFIX))(?![^\W_])"
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
    rf"|(?:the|my|our)\s+(?:(?:{_MARKS})\s+)?(?:NAMES)(?:\s+(?:score|rating|grade|verdict))?"
    r"(?:\s+(?:for|of)\s[^.!?\n]{0,40}?)?\s+is)\b(?P<rest>[^!?\n]{1,120})"
)
_ASSIGNED = (
    r"\ban?\s+(?:score|rating|grade|mark)\s+of\s+(?P<value>[^.!?\n]{1,30}?)\s+(?:is|seems|feels)\s+(?:\w+\s+)?"
    r"(?:given|assigned|awarded|appropriate|warranted|justified|fair|fitting|right)\b"
)
_TAG = (
    r"<(?P<tag>(?:(?P<final>final)_?|(?P<overall>overall)_?)?(?:score|rating|grade|verdict|label|result|NAMED))>"
    r"\s*+(?P<value>[^<]{1,60}+)</(?P=tag)>"
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?(?P<value>[^{}]{1,60}?)\}?\s*\}|\[\[(?P<double>[^\[\]\n]{1,40})\]\]")
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
"""A line that names the scale of what the reply states, such as `Scale: 1-5`."""
_NAMES_SCALE = re.compile(r"scale|^\W*out\s+of\b", re.IGNORECASE)
_OPENING = re.compile(r"\W*\d[\d.,]*\s*(?:/|%|out of|points?\b|\s[-\u2013\u2014]\s)")
_PARTS = frozenset({"criterion", "criteria", "aspect", "dimension"})
_LAST_SENTENCE = re.compile(r"(?:^|(?<=[.!?])\s|\n)([^.!?\n]{1,60}(?:\.\d[^.!?\n]{0,20})?[.!]?)\s*+\Z")


@dataclass(frozen=True, slots=True)
class Statement:
    """A score as a reply states it."""

    at: int
    """Where in the reply."""
    value: Value | None
    """None for a statement that there is no score."""
    standing: Standing
    finality: int
    """2 for one that is called final, 1 for one that is called overall, else 0."""
    reason: str | None = None
    """That of the object which states it, empty where it has none; None for a statement in words."""

    @property
    def is_object(self) -> bool:
        """Whether an object states it."""
        return self.reason is not None


def statements_in(text: str, scale: Scale, score_name: str, context: Context) -> Iterator[Statement]:
    """Find what a reply states in words.

    Args:
        text: The reply, its objects blanked out.
        scale: The judge's scale.
        score_name: Name of the score, by which the judge may call it.
        context: Of this text.
    """
    find = _Finder(text, scale, score_name, context)
    yield from find.labelled()
    yield from find.tagged()
    yield from find.in_tables()
    yield from find.in_sentences()
    yield from find.in_lines()


class _Finder:
    def __init__(self, text: str, scale: Scale, score_name: str, context: Context) -> None:
        self._text = text
        self._scale = scale
        self._context = context
        named = re.escape(score_name).replace("_", r"[\s_]").replace(r"\-", r"[\s_-]")
        kinds = NUMBER_NAMES if scale.kind == "NUMERIC" else (*NUMBER_NAMES, *LABEL_NAMES)
        self._named = named
        declared = _DECLARED.search(text)
        self._declared = own_scale_in(declared[1]) if declared else None
        self._names = "|".join((named, *kinds))

    def labelled(self) -> Iterator[Statement]:
        pattern = _compile(_LABEL, self._names)
        for match in _first(pattern.finditer(self._text)):
            own = self._own_scale(match.start(), match["range"])
            line = match["value"]
            if match["heading"] or match["bare"]:
                value = read_value(line, self._scale, own)
                if match["bare"] and not re.search(r"[/%★]|out of", line):
                    continue
            else:
                value = leading_value(line, self._scale, own)
            if value is not None:
                finality = 2 if match["final"] else 1 if match["overall"] else 0
                yield self._statement(match.start("label"), match.end("value"), value, Standing.STATED, finality)

    def tagged(self) -> Iterator[Statement]:
        for match in _first(_compile(_TAG, self._named).finditer(self._text)):
            value = read_value(match["value"], self._scale)
            if value is not None:
                finality = 2 if match["final"] else 1 if match["overall"] else 0
                yield self._statement(match.start(), match.end(), value, Standing.STATED, finality)
        for match in _first(_BOXED.finditer(self._text)):
            value = read_value(match["value"] or match["double"], self._scale)
            if value is not None:
                yield self._statement(match.start(), match.end(), value, Standing.STATED)

    def in_tables(self) -> Iterator[Statement]:
        """Read tables whose one row has a column for the score."""
        for match in _first(_TABLE.finditer(self._text)):
            heads, cells = (
                [cell.strip(" *_`") for cell in match[part].strip().strip("|").split("|")] for part in ("head", "row")
            )
            if (
                match["more"]
                or len(heads) != len(cells)
                or heads[0].lower() in {"criterion", "criteria", "aspect", "dimension"}
            ):
                continue
            for head, cell in zip(heads, cells, strict=True):
                value = read_value(cell, self._scale) if re.fullmatch(self._names, head, re.IGNORECASE) else None
                if value is not None:
                    yield self._statement(match.start("row"), match.end("row"), value, Standing.STATED)

    def in_sentences(self) -> Iterator[Statement]:
        for match in _first(_compile(_SENTENCE, self._names).finditer(self._text)):
            value = self._said(match.start(), match["rest"])
            if value is not None:
                finality = 2 if match["final"] else 1 if match["overall"] else 0
                yield self._statement(match.start(), match.end(), value, Standing.SAID, finality)
        for match in _first(_compile(_ASSIGNED, "").finditer(self._text)):
            value = read_value(match["value"], self._scale)
            if value is not None:
                yield self._statement(match.start(), match.end(), value, Standing.SAID)
        if self._scale.kind != "NUMERIC":
            for match in _first(_THEREFORE.finditer(self._text)):
                label = leading_label(match["value"], self._scale, own_only=True)
                if label is not None:
                    yield self._statement(match.start("value"), match.end(), label, Standing.SAID)

    def in_lines(self) -> Iterator[Statement]:
        """Read the first line, the last one, and the last sentence, where they are nothing but the score."""
        start = len(self._text) - len(self._text.lstrip())
        first = self._text[start:].partition("\n")[0]
        if "\n" in self._text.strip() and not first.rstrip().endswith("."):
            yield from self._line(start, first, read_value(first, self._scale))
        yield from self._line(start, first, self._opening(first))
        ending = _LAST_SENTENCE.search(self._text, max(0, len(self._text) - 200))
        if ending:
            yield from self._line(ending.start(1), ending[1], read_value(ending[1], self._scale))

    def _opening(self, line: str) -> Value | None:
        if self._scale.kind != "NUMERIC":
            return leading_label(line, self._scale, own_only=True)
        return leading_number(line, self._scale) if _OPENING.match(line) else None

    def _line(self, at: int, line: str, value: Value | None) -> Iterator[Statement]:
        if value is not None:
            standing = Standing.WEAK if BARE_NUMBER.fullmatch(line) else Standing.STATED
            yield self._statement(at, at + len(line), value, standing)

    def _said(self, at: int, rest: str) -> Value | None:
        """Read the one value of a sentence."""
        sentence = re.split(r"[.;](?=\s|$)", rest)[0]
        if self._scale.kind != "NUMERIC":
            head = re.match(r"[^.\n]*?\bas\s+(?:an?\s+)?|\s*+(?:an?\s+)?", sentence)
            return leading_label(sentence[head.end() :], self._scale) if head else None
        if _DOUBT.search(self._context.clause(at)):
            return None
        own = self._own_scale(at, None)
        numbers = numbers_in(sentence)
        if len(numbers) != 1 or _DOUBT.search(sentence[: numbers[0].end()]):
            return None
        plain = re.sub(r"[*_`$]", "", sentence)
        found = numbers_in(plain)
        return leading_number(plain[found[0].start() :], self._scale, own) if len(found) == 1 else None

    def _own_scale(self, at: int, bracketed: str | None) -> OwnScale | None:
        """The scale named in brackets after a label, or earlier in the sentence."""
        if bracketed and (own := own_scale_in(bracketed)):
            return own
        sentence = self._context.sentence(at)
        return (own_scale_in(sentence) if _NAMES_SCALE.search(sentence) else None) or self._declared

    def _statement(self, start: int, end: int, value: Value, most: Standing, finality: int = 0) -> Statement:
        standing = min(most, self._context.standing(start, end))
        return Statement(start, value, standing, max(finality, self._context.finality(start)))


@lru_cache(maxsize=256)
def _compile(pattern: str, names: str) -> re.Pattern[str]:
    written = pattern.replace("SUFFIX", _SUFFIX).replace("NAMES", names).replace("NAMED", names)
    return re.compile(written, re.IGNORECASE | re.MULTILINE)


def _first(matches: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    return (match for match, _ in zip(matches, range(_MOST), strict=False))
