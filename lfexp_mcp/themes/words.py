"""The words of a comment, case-folded, with their stems, and those that are not a theme by themselves."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

_ENGLISH = """
a about above after again all also although always am an and any are as at be because been before being below between
both but by can can't cannot could couldn't did didn't do does doesn't doing don't done during each else etc even ever
every few for from get gets getting give gives go goes going got had has hasn't have haven't having he her here hers him
his how however i i'd i'll i'm i've if in instead into is isn't it it's its itself just let like little lot many may me
might more most mostly much must my never nor nothing now of on once one ones only or other others our
over own please pretty quite rather really same say says shall she should shouldn't since so some something somehow
somewhat still such take takes than that that's the their them then there there's these they they're thing things this
those though through thus to under until upon us use used uses using very was wasn't way we well were weren't what when
where whether which while who whole whom whose why will with within without won't would wouldn't yes yet you your yours
n/a na two three four five first second third last half another anyone anything anywhere everything nobody none back
actually already almost apart around away basically both completely entirely especially enough far fully hardly maybe
perhaps probably simply sometimes totally
"""
_GERMAN = """
aber alle als also am an auch auf aus bei bin bis da dann das dass dem den der des die dies diese dieser dieses doch
dort du durch ein eine einem einen einer eines er es etwas fur für hat haben hier ich ihr im in ist ja kann kein keine
man mehr mit muss nach nicht noch nur ob oder ohne schon sehr sein sich sie sind so uber über um und uns viel vom von
vor war waren was weil wenn wer wie wird wir wurde zu zum zur
"""
_ROMANCE = """
au aux avec ce ces cette dans de des du elle en est et il ils je la le les leur lui mais même ne nous on ou par pas plus
pour qu que qui sa se ses son sur tout très un une vous al como con cuando del el ella ellos entre era es esta este esto
fue ha hay la las lo los más me mi muy no nos o para pero por porque qué se ser si sin sobre su sus también tiene todo
una uno y ya ao aos as até com da das do dos e é ela ele em foi isso já mais mas na não nas no nos os ou pela pelo que
são sem seu sua também tem um uma che chi ci di gli ha ho il io lei ma nel non per più sono sua suo ti tra tu un
"""
STOP_WORDS = frozenset(f"{_ENGLISH} {_GERMAN} {_ROMANCE}".split())

WEAK_WORDS = frozenset(
    """
    answer response output reply result model bot assistant agent ai llm system chatbot question request query user
    customer client person human people asker prompt message text content sentence paragraph word line part point case
    item example comment note information info claim fact detail statement
    good great nice fine perfect excellent ok okay bad poor terrible awful weak better best worse worst wrong incorrect
    correct right true false accurate inaccurate error mistake issue problem fail missing miss lack need want add
    ask tell mention state write read look feel seem sound think know see find show explain provide include contain make
    mean change fix work help offer give come keep put call try start end
    new old different important main clear exact full short small big much less number day time year
    too up off out not no
    """.split()  # noqa: SIM905
)
"""Frequent in comments on answers: not a theme alone, but part of one (`wrong unit`, `too long`, `made up`)."""
PARTICLES = frozenset({"up", "out", "off"})
"""A weak word followed by one of these is a theme: `made up`, `left out`."""


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
