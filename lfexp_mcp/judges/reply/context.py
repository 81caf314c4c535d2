"""Tell the judge's own verdict from scores that its reply quotes, supposes or drafts, by the words around them."""

import re
from collections.abc import Iterator
from enum import IntEnum
from itertools import takewhile

# The words by which a reply names its score and its reason, as alternatives of patterns that ignore case.
NUMBER_NAMES = (
    "score|scores?|rating|grade|marks?|points|evaluation|assessment|judge?ment|verdict|note|nota|évaluation|bewertung|"
    "punktzahl|punkte|wertung|ergebnis|puntuaci[oó]n|puntaje|calificaci[oó]n|valoraci[oó]n|pontua[cç][aã]o|"
    "avalia[cç][aã]o|punteggio|voto|valutazione|cijfer|beoordeling|betyg|ocena|wynik|puan|điểm|skor|оценка|балл|баллы|"
    "得分|评分|分数|評分|分數|スコア|評価|点数|採点|점수|평점"
)
LABEL_NAMES = (
    "result|label|category|class|classification|decision|conclusion|answer|outcome|status|urteil|veredicto|resultado|"
    "verdetto|résultat|вердикт|результат|结论|判定|结果|판정"
)
"""Further names of a label; a number with such a name is more likely one that the judged answer is about."""
FINAL = (
    r"(?:revised|corrected|updated|new)\s+final|final|finale?|revised|corrected|updated|adjusted|definitive|endgültige|"
    "end-?|最终|最終|最后|итоговая|итоговый|最終的な|최종"
)
"""Marks the score that counts, among drafts."""
OVERALL = "overall|total|gesamt-?|综合|総合|总分|总|global|общая|종합|总体"
"""Marks the score of the whole, among those of parts."""
REASON_NAMES = (
    "reasoning|reason|explanation|rationale|justification|comment|feedback|critique|begründung|justificación|motivo|"
    "raison|обоснование|理由"
)

_BEFORE_CHARS = 300
"""How far before a score the words are looked at."""
_AFTER_CHARS = 120
"""The same for the words after it."""
_MARKS = " \t\r*_#>-+|`~([{\"'\u201c\u2022\ufe0f"
"""Characters of markup, lists and brackets, which may stand before a score without introducing it."""

_FENCE = re.compile(r"^[^\S\n]*(```+|~~~+)[^\S\n]*([\w+#-]*)[^\n]*\n(.*?)(?:^[^\S\n]*\1|\Z)", re.DOTALL | re.MULTILINE)
_DATA_LANGUAGES = {"", "json", "json5", "jsonc", "yaml", "yml", "text", "txt", "plaintext", "xml", "markdown", "md"}
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
_TAG = re.compile(r"</?\w{1,40}>[^<>\n]{0,60}</\w{1,40}>|</?\w{1,40}>")

_THEIRS = (
    r"(?:outputs?|answers?|responses?|reply|submissions?|submitted\s+\w+|candidates?|texts?|codes?|agents?|assistants?|"
    r"essays?|students?|authors?|models?|users?|systems?|documents?|prompts?|messages?|content|tools?|programs?|scripts?|"
    r"logs?|strings?|lines?|sentences?|comments?|translations?|summary|poems?|letters?|articles?|reports?|injections?|"
    r"attacks?|instructions?|contestants?|writers?|it|they|he|she|which|that|who)"
)
_SAYING = (
    r"(?:sa(?:ys|id|ying)|stat(?:es|ed|ing)|contain(?:s|ed|ing)?|includ(?:es|ed|ing)|end(?:s|ed|ing)|clos(?:es|ed)|"
    r"beg[iau]n(?:s|ning)?|start(?:s|ed)|open(?:s|ed)|print(?:s|ed|ing)|claim(?:s|ed|ing)|reads?|writes?|wrote|rates?|"
    r"rated|scores\s+itself|ask(?:s|ed|ing)|call(?:s|ed)|return(?:s|ed)|output(?:s|ted)|mention(?:s|ed)|quot(?:es|ed)|"
    r"add(?:s|ed)|append(?:s|ed)|embed(?:s|ded)|tells?|told|instruct(?:s|ed|ing)|tri(?:es|ed)|attempt(?:s|ed)|"
    r"suggest(?:s|ed)|demand(?:s|ed|ing)|request(?:s|ed|ing)|show(?:s|ed)|display(?:s|ed)|emit(?:s|ted)|g(?:ives|ave)\s+itself|"
    r"declar(?:es|ed)|assert(?:s|ed)|insist(?:s|ed)|inject(?:s|ed)|follows|puts?|repeat(?:s|ed)|"
    r"carr(?:ies|ied)|consist(?:s|ed)|produc(?:es|ed)|generat(?:es|ed)|repl(?:ies|ied)|respond(?:s|ed)|answered|"
    r"propos(?:es|ed)|announc(?:es|ed)|ordere?(?:s|d)|wants?|wanted|hides|hid)"
)
_ATTRIBUTION = re.compile(
    rf"\b{_THEIRS}\b[^.!?\n]{{0,60}}?\b(?:{_SAYING}\b|(?:is|was|were|has|had)\W*$)"
    # An example or a format.
    r"|\b(?:for\s+example|e\.g\.|for\s+instance|as\s+an\s+example|such\s+as|something\s+like"
    r"|(?:respond|reply|answer|return|write|use)\s+(?:with|in|as|only|exactly))(?!\w)"
    r"|(?<!the )\b(?:examples?|formats?|schemas?|templates?|placeholders?|expected(?:\s+\w+)?|"
    r"reference(?:\s+\w+)?|got|actual(?:\s+\w+)?|received|quotation|quote)\b[^:\n]{0,30}:\W*$|\brubric\W*:\W*$"
    # A draft.
    r"|\b(?:drafts?|initial|first\s+(?:attempt|pass|impression|thought|draft|guess|reading)|preliminary|tentative|"
    r"original|previous|prior|earlier)(?:\s+\w+){0,2}\W*$"
    r"|\b(?:initially|at\s+first|originally|tentatively|previously|I\s+(?:first\s+)?considered|tempted|"
    r"started\s+(?:with|at|from))\b",
    re.IGNORECASE,
)
"""Words that introduce what is not the judge's verdict, such as `The output ends with`, `For example` or `At first`."""
_TITLE = re.compile(
    r"^(?!\W*(?:my|our|evaluat|judg(?:e|ing)|assess|scor|rat|grad|review|analy|verdict|final|overall|assistant\W*$))"
    r"\W*(?:(?:here\s+(?:is|was)|see)\s+)?(?:the\s+|their\s+|its\s+|a\s+|this\s+)?(?:[\w'\u2019-]+\s+){0,2}?"
    rf"(?:{_THEIRS})(?:['\u2019]s)?"
    r"(?:\s+(?:texts?|codes?|itself|content|above|below|verbatim|in\s+full|under\s+review|being\s+judged|judged))?\W*$",
    re.IGNORECASE,
)
"""A title of the judged output, such as `The candidate's answer:`."""
_AMBIGUOUS_TITLE = re.compile(r"^\W*(?:response|answer|reply|output)\W*:\W*$", re.IGNORECASE)
"""A title of the judged output or of the judge's own reply."""
_SUPPOSED = re.compile(
    r"(?<!see )(?<!check )(?<!as )\bif\b|\b(?:unless|suppose|supposing|hypothetically|would\s+have|might\s+have|"
    r"could\s+have|had\s+(?:it|the)|were\s+(?:it|the))\b",
    re.IGNORECASE,
)
_PERHAPS = re.compile(r"\b(?:not\s+an?|might|could|never)\b", re.IGNORECASE)
_DISOWNED = re.compile(
    r"\W*(?:(?:which|this|that|the\s+above|these)\b[^.\n]{0,40}?\b"
    r"(?:written\s+by|part\s+of|(?:taken|quoted|copied|came|comes)\s+from|"
    r"what\s+the|an?\s+(?:attempt|injection|example|quotation)|injection|not\s+my)\b|(?:appears?|occurs?|stands)\b)",
    re.IGNORECASE,
)
"""Words after a score that is not the judge's, such as `, which is an attempt to ...`."""
_FINAL = re.compile(rf"\b(?:{FINAL}|conclusion|verdict\s+is)\b|最终|最終", re.IGNORECASE)
_OVERALL = re.compile(rf"\b(?:{OVERALL})\b", re.IGNORECASE)
_WITHDRAWN = re.compile(
    r"\b(?:disregard|ignore|scratch|retract|withdraw|strike)\s+(?:that|this|the|my)\s+(?:\w+\s+)?"
    r"(?:score|rating|verdict|grade|above)\b"
    r"|\bscratch\s+that\b|\bon\s+(?:second\s+thoughts?|reflection)\b|\blet\s+me\s+(?:reconsider|correct|revise)\b"
    r"|^[^\w\n]{0,20}correction\b"
    r"|\bI\s+(?:misread|was\s+wrong|made\s+a\s+mistake|take\s+(?:that|it)\s+back|(?:change|revise|withdraw|retract)\s+my)\b"
    r"|\bI\s+(?:cannot|can['\u2019]?t|can\s+not|am\s+(?:not\s+able|unable)\s+to)\s+(?:judge|score|rate|evaluate|grade)\s+(?:this|it)\b",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)[.!?;]\s|\n|\u3002")
_CLAUSE_END = re.compile(
    r"(?<!e\.g)(?<!i\.e)[.!?;]\s|\n|\u3002|,\s(?:(?:but|yet|however|so|and|therefore)\b|(?=I\b|my\b))|\b(?:but|however),?\s",
    re.IGNORECASE,
)


class Standing(IntEnum):
    """How far a score in a reply can be taken for the judge's verdict."""

    OTHERS = 0
    """A quotation, an example, a draft or a supposition: never the verdict."""
    WEAK = 1
    """In the judge's working, a block quote, or a bare number: the verdict if there is no other."""
    SAID = 2
    """In a sentence."""
    STATED = 3
    """Set apart from everything else: an object, a labelled line, a tag."""


class Context:
    """The words around the scores of a reply."""

    def __init__(self, text: str) -> None:
        """Find the quotations in a text.

        Args:
            text: The reply, its objects blanked out, so that their strings do not count as the reply's own words.
        """
        self._text = text
        # The highest standing of a score at each character.
        self._highest = bytearray([Standing.STATED]) * len(text)
        for start, end, standing in sorted(self._spans(), key=lambda span: (span[0], -span[1])):
            # What opens within a quotation, such as an unclosed tag, does not reach beyond it.
            if standing < self._highest[start]:
                self._highest[start:end] = bytes([standing]) * (end - start)

    def standing(self, start: int, end: int) -> Standing:
        """Return how far the score between two positions can be taken for the verdict."""
        disowned = _DISOWNED.match(self._text[end : end + _AFTER_CHARS])
        if disowned or self._is_of_others(start):
            return Standing.OTHERS
        if self._highest[start] == Standing.WEAK or _AMBIGUOUS_TITLE.match(self._leading(start)):
            return Standing.WEAK
        line = self._text[max(0, start - _BEFORE_CHARS) : start].rpartition("\n")[2]
        before = re.sub(r"<[\w|/-]{1,40}>", "", line).strip(_MARKS)
        return Standing.SAID if before and before[-1] not in ":.!?;>=,)\ufffc" else Standing.STATED

    def finality(self, start: int) -> int:
        """Return 2 if the words before a score call it final, 1 if overall, else 0."""
        leading = self._leading(start)
        return 2 if _FINAL.search(leading) else 1 if _OVERALL.search(leading) else 0

    def clause(self, start: int) -> str:
        """Return the clause before a score."""
        return _last(_CLAUSE_END, _TAG.sub(" ", self._text[max(0, start - _BEFORE_CHARS) : start]))

    def sentence(self, start: int) -> str:
        """Return the sentence before a score."""
        return _last(_SENTENCE_END, self._text[max(0, start - _BEFORE_CHARS) : start])

    def withdrawn_before(self) -> int:
        """Return the position before which the judge took everything back, such as by `Scratch that`."""
        places = (match.start() for match in _WITHDRAWN.finditer(self._text))
        return max((at for at in places if not self._is_of_others(at)), default=0)

    def _leading(self, start: int) -> str:
        """Return the clause before a score, else the line that introduces it."""
        clause = self.clause(start)
        return clause if clause.strip(_MARKS) else self._introduction(start)

    def _is_of_others(self, start: int) -> bool:
        if self._highest[start] == Standing.OTHERS:
            return True
        clause = self.clause(start)
        supposed = _PERHAPS.search(clause) or _SUPPOSED.search(self.sentence(start))
        return bool(supposed) or _attributes(clause) or _attributes(self._introduction(start))

    def _introduction(self, start: int) -> str:
        """Return the line ending with a colon that introduces a score or its paragraph; empty if there is none."""
        above, _, line = self._text[max(0, start - 2 * _BEFORE_CHARS) : start].rpartition("\n")
        lines = above.split("\n")
        if not line.strip(_MARKS):
            while lines and not lines[-1].strip(_MARKS):
                lines.pop()
            if lines and lines[-1].rstrip(_MARKS).endswith(":"):
                return _last(_CLAUSE_END, lines[-1].strip())
        paragraph = list(
            takewhile(lambda each: each.strip(_MARKS) and not each.lstrip().startswith(("```", "~~~")), reversed(lines))
        )
        first = paragraph[-1].rstrip(_MARKS) if paragraph else ""
        return _last(_CLAUSE_END, first) if first.endswith(":") else ""

    def _spans(self) -> Iterator[tuple[int, int, Standing]]:
        for fence in _FENCE.finditer(self._text):
            if fence[2].lower() not in _DATA_LANGUAGES or _attributes(self._introduction(fence.start())):
                yield *fence.span(), Standing.OTHERS
        for quotation in _QUOTED.finditer(self._text):
            if not self._is_whole_line(quotation):
                yield *quotation.span(), Standing.OTHERS
        for pattern in (_LONG_QUOTED, _OTHERS_BLOCK):
            yield from ((*block.span(), Standing.OTHERS) for block in pattern.finditer(self._text))
        for pattern in (_WORKING_BLOCK, _QUOTE_BLOCK):
            yield from ((*block.span(), Standing.WEAK) for block in pattern.finditer(self._text))

    def _is_whole_line(self, span: re.Match[str]) -> bool:
        start = self._text.rfind("\n", 0, span.start()) + 1
        end = self._text.find("\n", span.end())
        rest = self._text[start : span.start()] + self._text[span.end() : end if end >= 0 else None]
        return not rest[:_BEFORE_CHARS].strip(_MARKS + ".")


def _attributes(leading: str) -> bool:
    """Whether a clause or line says that what follows is not the judge's verdict."""
    if _ATTRIBUTION.search(leading):
        return True
    title = leading.rstrip(_MARKS)
    return title.endswith(":") and _TITLE.match(title) is not None and not _AMBIGUOUS_TITLE.match(title)


def _last(ends: re.Pattern[str], text: str) -> str:
    """Return what follows the last match of `ends`."""
    places = [match.end() for match in ends.finditer(text)]
    return text[places[-1] :] if places else text
