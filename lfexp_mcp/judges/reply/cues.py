"""The words around a statement that tell whose it is, and what it is worth: quoted, supposed, drafted, final."""

import re
from collections.abc import Iterator

from lfexp_mcp.judges.reply.words import FINAL, OVERALL

MARKS = " \t\r*_#>-+|`~([{\"'\u201c\u2022\ufe0f"
"""Characters of markup, lists and brackets, which may stand before a statement without leading to it."""

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
_ATTRIBUTED = re.compile(rf"\b{_THEIRS}\b[^.!?\n]{{0,60}}?\b(?:{_SAYING}\b|(?:is|was|were|has|had)\W*$)", re.IGNORECASE)
_UNCLEAR = re.compile(r"^\W*(?:response|answer|reply|output)\W*:\W*$", re.IGNORECASE)
"""What may entitle the judge's own reply as well as the output that it judges."""
_ENTITLED = re.compile(
    r"^(?!\W*(?:my|our|evaluat|judg(?:e|ing)|assess|scor|rat|grad|review|analy|verdict|final|overall|assistant\W*$))"
    r"\W*(?:(?:here\s+(?:is|was)|see)\s+)?(?:the\s+|their\s+|its\s+|a\s+|this\s+)?(?:[\w'\u2019-]+\s+){0,2}?"
    rf"(?:{_THEIRS})(?:['\u2019]s)?"
    r"(?:\s+(?:texts?|codes?|itself|content|above|below|verbatim|in\s+full|under\s+review|being\s+judged|judged))?\W*$",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"\b(?:for\s+example|e\.g\.|for\s+instance|as\s+an\s+example|such\s+as|something\s+like"
    r"|(?:respond|reply|answer|return|write|use)\s+(?:with|in|as|only|exactly))(?!\w)"
    r"|(?<!the )\b(?:examples?|formats?|schemas?|templates?|placeholders?|expected(?:\s+\w+)?|"
    r"reference(?:\s+\w+)?|got|actual(?:\s+\w+)?|received|quotation|quote)\b[^:\n]{0,30}:\W*$|\brubric\W*:\W*$",
    re.IGNORECASE,
)
_DRAFT = re.compile(
    r"\b(?:drafts?|initial|first\s+(?:attempt|pass|impression|thought|draft|guess|reading)|preliminary|tentative|"
    r"original|previous|prior|earlier)(?:\s+\w+){0,2}\W*$"
    r"|\b(?:initially|at\s+first|originally|tentatively|previously|I\s+(?:first\s+)?considered|tempted|"
    r"started\s+(?:with|at|from))\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"(?<!see )(?<!check )(?<!as )\bif\b|\b(?:unless|suppose|supposing|hypothetically|would\s+have|might\s+have|"
    r"could\s+have|had\s+(?:it|the)|were\s+(?:it|the))\b",
    re.IGNORECASE,
)
_PERHAPS = re.compile(r"\b(?:not\s+an?|might|could|never)\b", re.IGNORECASE)
_SAID_AFTER = re.compile(
    r"\W*(?:(?:which|this|that|the\s+above|these)\b[^.\n]{0,40}?\b"
    r"(?:written\s+by|part\s+of|(?:taken|quoted|copied|came|comes)\s+from|"
    r"what\s+the|an?\s+(?:attempt|injection|example|quotation)|injection|not\s+my)\b|(?:appears?|occurs?|stands)\b)",
    re.IGNORECASE,
)
_MARKED_FINAL = re.compile(rf"\b(?:{'|'.join(FINAL)}|conclusion|verdict\s+is)\b|最终|最終", re.IGNORECASE)
_MARKED_OVERALL = re.compile(rf"\b(?:{'|'.join(OVERALL)})\b", re.IGNORECASE)
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


def is_of_others(leading: str) -> bool:
    """Whether a clause or line says that what follows is not the judge's verdict, such as `The output ends with`."""
    if _ATTRIBUTED.search(leading) or _EXAMPLE.search(leading) or _DRAFT.search(leading):
        return True
    label = leading.rstrip(MARKS)
    return label.endswith(":") and _ENTITLED.match(label) is not None and not may_be_of_others(label)


def may_be_of_others(leading: str) -> bool:
    """Whether a line may entitle the judge's own reply as well as the output that it judges, such as `Response:`."""
    return _UNCLEAR.match(leading) is not None


def is_supposed(clause: str, sentence: str) -> bool:
    """Whether what leads to a statement only supposes it, such as `If it had cited its source,`."""
    return _PERHAPS.search(clause) is not None or _SUPPOSED.search(sentence) is not None


def is_disowned(following: str) -> bool:
    """Whether what follows a statement says that it is not the judge's, such as `, which is an attempt at ...`."""
    return _SAID_AFTER.match(following) is not None


def finality_of(leading: str) -> int:
    """2 where what leads to a statement calls it final, 1 where it calls it overall, else 0."""
    if _MARKED_FINAL.search(leading):
        return 2
    return 1 if _MARKED_OVERALL.search(leading) else 0


def withdrawals_in(text: str) -> Iterator[int]:
    """Find the places where what was stated before is taken back, such as `Scratch that`."""
    return (match.start() for match in _WITHDRAWN.finditer(text))


def last_clause(text: str) -> str:
    """The clause that a text ends with."""
    return _after_last(_CLAUSE_END, text)


def last_sentence(text: str) -> str:
    """The sentence that a text ends with."""
    return _after_last(_SENTENCE_END, text)


def _after_last(ends: re.Pattern[str], text: str) -> str:
    places = [match.end() for match in ends.finditer(text)]
    return text[places[-1] :] if places else text
