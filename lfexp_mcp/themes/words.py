"""The words of a comment, case-folded, with their stems."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from lfexp_mcp.themes.stop_words import STOP_WORDS

_CLAUSE = re.compile(r"[.!?;:,()\[\]{}\"\n\r\t/|…。！？、，；：「」]+|\s[-–—]+\s")  # noqa: RUF001
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")  # noqa: RUF001
_APOSTROPHE = re.compile(r"['’].*$")  # noqa: RUF001
_IRREGULAR_VERBS = """
break broke broken, feel felt, forget forgot forgotten, give gave given, go went, keep kept, leave left, lose lost,
make made, misunderstand misunderstood, say said, send sent, speak spoke spoken, take took taken, tell told,
think thought, write wrote written
"""
_BASE_FORMS = {form: verb.split()[0] for verb in _IRREGULAR_VERBS.split(",") for form in verb.split()[1:]}


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a comment."""

    text: str
    """Case-folded."""
    stem: str
    stop: bool
    """Whether it is a stop word, such as `the`, or a number."""
    unspaced: bool
    """Whether it is one character of a script written without spaces, such as Chinese."""


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


@cache
def _stemmer() -> Callable[[str], str]:
    # Imported on use: the library loads every language that it knows.
    from snowballstemmer import EnglishStemmer

    stem_word: Callable[[str], str] = EnglishStemmer().stemWord
    return stem_word


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Return the English stem of a word; words of other languages mostly stay as they are.

    The Snowball algorithm for English, also known as Porter 2: https://snowballstem.org/algorithms/english/stemmer.html
    """
    return _stemmer()(_BASE_FORMS.get(word, word)) if word.isascii() else word
