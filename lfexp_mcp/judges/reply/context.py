"""Tell a judge's own verdict from what its reply quotes, supposes or drafts, by what stands around it."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile

from lfexp_mcp.judges.reply.cues import (
    MARKS,
    finality_of,
    is_disowned,
    is_of_others,
    is_supposed,
    last_clause,
    last_sentence,
    may_be_of_others,
    withdrawals_in,
)

_BEFORE = 300
"""Characters before a statement that are looked at."""
_AFTER = 120

_FENCE = re.compile(r"^[^\S\n]*(```+|~~~+)[^\S\n]*([\w+#-]*)[^\n]*\n(.*?)(?:^[^\S\n]*\1|\Z)", re.DOTALL | re.MULTILINE)
_SIMPLE_TAG = re.compile(r"</?\w{1,40}>[^<>\n]{0,60}</\w{1,40}>|</?\w{1,40}>")
_FENCE_LINE = re.compile(r"\s*(?:```|~~~)")
_QUOTED = re.compile(
    r"\"[^\"\n]{1,400}\"|\u201c[^\u201d\n]{1,400}\u201d|\u201e[^\u201c\u201d\n]{1,400}[\u201c\u201d]"
    r"|\u00ab[^\u00bb\n]{1,400}\u00bb|`[^`\n]{1,400}`|\u2018[^\u2019\n]{1,400}\u2019(?!\w)|(?<!\w)'[^'\n]{1,400}'(?!\w)|\u300c[^\u300d\n]{1,400}\u300d"
)
_LONG_QUOTED = re.compile(
    r"\b(?:sa(?:ys|id)|reads?|stat(?:es|ed)|writes?|wrote|contain(?:s|ed)|with|is|was|claim(?:s|ed))[:,]?\s+"
    r"(?:\"[^\"]{1,2000}\"|\u201c[^\u201d]{1,2000}\u201d)(?=[\s.,;:)]|$)"
)
_OTHERS_BLOCK = re.compile(
    r"<(output|candidate|submission|input|example|rubric|quote)\b[^>\n]{0,80}>.*?(?:</\1>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_WORKING_BLOCK = re.compile(
    r"<(reasoning|reason|analysis|scratchpad|reflection|rationale|explanation|notes)>.*?(?:</\1>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_QUOTE_BLOCK = re.compile(r"^[^\S\n]*>[^\n]*$", re.MULTILINE)
_DATA_LANGUAGES = {"", "json", "json5", "jsonc", "yaml", "yml", "text", "txt", "plaintext", "xml", "markdown", "md"}


class Standing(IntEnum):
    """How far a statement can be taken for the judge's verdict."""

    OTHERS = 0
    """A quotation, an example, a draft or a supposition: never the verdict."""
    WEAK = 1
    """Within the judge's working, a block quote, or a bare number: the verdict where nothing else is."""
    SAID = 2
    """In a sentence."""
    STATED = 3
    """Apart from all else: an object, a labelled line, a tag."""


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    standing: Standing


class Context:
    """What stands around the statements of a reply."""

    def __init__(self, text: str) -> None:
        """Read a text.

        Args:
            text: The reply, its objects blanked out, so that none of their strings is taken for the reply's own words.
        """
        self._text = text
        # A span within another adds nothing, so that the outermost can be looked up by its start.
        spans: list[_Span] = []
        for span in sorted(self._spans(), key=lambda each: (each.start, -each.end)):
            if not spans or span.start >= spans[-1].end or span.standing < spans[-1].standing:
                spans.append(span)
        self._spans_found = spans
        self._starts = [span.start for span in spans]

    def standing(self, start: int, end: int) -> Standing:
        """How far the statement between two places can be taken for the verdict."""
        inside = self._inside(start)
        if inside is Standing.OTHERS or self._is_of_others(start) or is_disowned(self._text[end : end + _AFTER]):
            return Standing.OTHERS
        if inside is not None or may_be_of_others(self._leading(start)):
            return Standing.WEAK
        before = self._line_before(start)
        return Standing.SAID if before and before[-1] not in ":.!?;>=,)\ufffc" else Standing.STATED

    def finality(self, start: int) -> int:
        """2 where what leads to a statement calls it final, 1 where overall, else 0."""
        return finality_of(self._leading(start))

    def clause(self, start: int) -> str:
        """The part of its clause that stands before a statement."""
        return last_clause(_SIMPLE_TAG.sub(" ", self._text[max(0, start - _BEFORE) : start]))

    def sentence(self, start: int) -> str:
        """The part of its sentence that stands before a statement."""
        return last_sentence(self._text[max(0, start - _BEFORE) : start])

    def _leading(self, start: int) -> str:
        """What leads to a statement: the clause before it, else the line that introduces it."""
        clause = self.clause(start)
        return clause if clause.strip(MARKS) else self._introduction(start) or ""

    def withdrawn_before(self) -> int:
        """The place before which all that was stated was taken back."""
        places = (
            place
            for place in withdrawals_in(self._text)
            if self._inside(place) is not Standing.OTHERS and not self._is_of_others(place)
        )
        return max(places, default=0)

    def _inside(self, at: int) -> Standing | None:
        index = bisect_right(self._starts, at) - 1
        found = [span.standing for span in self._spans_found[max(0, index - 1) : index + 1] if at < span.end]
        return min(found, default=None)

    def _is_of_others(self, start: int) -> bool:
        clause = self.clause(start)
        if is_of_others(clause) or is_supposed(clause, self.sentence(start)):
            return True
        introduction = self._introduction(start)
        return introduction is not None and is_of_others(introduction)

    def _line_before(self, start: int) -> str:
        line = self._text[max(0, start - _BEFORE) : start].rpartition("\n")[2]
        return re.sub(r"<[\w|/-]{1,40}>", "", line).strip(MARKS)

    def _introduction(self, start: int) -> str | None:
        """The line that leads to a statement, or to its paragraph, if it ends with a colon."""
        above, _, line = self._text[max(0, start - 2 * _BEFORE) : start].rpartition("\n")
        lines = above.split("\n")
        if not line.strip(MARKS):
            while lines and not lines[-1].strip(MARKS):
                lines.pop()
            if lines and lines[-1].rstrip(MARKS).endswith(":"):
                return last_clause(lines[-1].strip())
        paragraph = list(
            takewhile(lambda each: each.strip(MARKS) and not each.lstrip().startswith(("```", "~~~")), reversed(lines))
        )
        first = paragraph[-1].rstrip(MARKS) if paragraph else ""
        return last_clause(first) if first.endswith(":") else None

    def _spans(self) -> Iterator[_Span]:
        text = self._text
        for fence in _FENCE.finditer(text):
            introduction = self._introduction(fence.start())
            foreign = fence[2].lower() not in _DATA_LANGUAGES or (introduction and is_of_others(introduction))
            if foreign:
                yield _Span(fence.start(), fence.end(), Standing.OTHERS)
        for quotation in _QUOTED.finditer(text):
            if not self._is_whole_line(quotation):
                yield _Span(quotation.start(), quotation.end(), Standing.OTHERS)
        for pattern, standing in (
            (_LONG_QUOTED, Standing.OTHERS),
            (_OTHERS_BLOCK, Standing.OTHERS),
            (_WORKING_BLOCK, Standing.WEAK),
            (_QUOTE_BLOCK, Standing.WEAK),
        ):
            for block in pattern.finditer(text):
                yield _Span(block.start(), block.end(), standing)

    def _is_whole_line(self, span: re.Match[str]) -> bool:
        start = self._text.rfind("\n", 0, span.start()) + 1
        end = self._text.find("\n", span.end())
        rest = self._text[start : span.start()] + self._text[span.end() : end if end >= 0 else None]
        return not rest[:_BEFORE].strip(MARKS + ".")
