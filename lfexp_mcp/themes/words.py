"""Words of a comment: split, folded, and cut to their stems."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from lfexp_mcp.themes.stop_words import IRREGULAR, STOP_WORDS

_CLAUSE = re.compile(r"[.!?;:,()\[\]{}\"\n\r\t/|…。！？、，；：「」]+|\s[-–—]+\s")  # noqa: RUF001
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")  # noqa: RUF001
_APOSTROPHE = re.compile(r"['’].*$")  # noqa: RUF001
_SHORTEST_STEM = 3


@dataclass(frozen=True, slots=True)
class Word:
    """One word as it stands, and its stem."""

    text: str
    stem: str
    stop: bool
    """Whether it says nothing by itself, such as `the`."""
    unspaced: bool
    """Whether it is one character of a script that is written without spaces."""


def clauses(text: str) -> Iterator[list[Word]]:
    """Split a comment at its punctuation, and each part into words."""
    for clause in _CLAUSE.split(unicodedata.normalize("NFKC", text)):
        words = [_word(match[0]) for match in _WORD.finditer(clause)]
        if words:
            yield words


def _word(text: str) -> Word:
    folded = text.casefold()
    unspaced = re.fullmatch(rf"[{_UNSPACED}]", text) is not None
    base = _APOSTROPHE.sub("", folded)
    stop = not unspaced and (len(base) < 2 or folded.replace("’", "'") in STOP_WORDS or base in STOP_WORDS)  # noqa: RUF001
    return Word(folded, stem(base), stop or base.isdecimal(), unspaced)


def stem(word: str) -> str:
    """Cut the endings that English gives to one word; words of other languages mostly stay as they are.

    In the manner of D. Harman, How effective is suffixing?, JASIS 42 (1991) 7-15 (the S stemmer), with `-ed` and
    `-ing` added.
    """
    if not word.isascii():
        return word
    word = IRREGULAR.get(word) or _without_plural(word)
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= _SHORTEST_STEM and re.search("[aeiouy]", rest):
            doubled = rest[-1] == rest[-2] and rest[-1] not in "lsz"
            word = rest[:-1] if doubled else rest
            break
    if word.endswith("e") and len(word) > _SHORTEST_STEM:
        word = word[:-1]
    return word


def _without_plural(word: str) -> str:
    if len(word) <= _SHORTEST_STEM or not word.endswith("s"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word if word.endswith(("ss", "us", "is")) else word[:-1]
