"""Finding what comments have in common, and counting what somebody asks for."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lfexp_mcp.themes.stop_words import PARTICLES, WEAK_WORDS
from lfexp_mcp.themes.words import Word, clauses, stem

LEAST_COMMENTS = 3
"""Comments that a theme needs, however few there are."""
LEAST_SHARE = 0.05
"""Share of the comments that a theme needs."""
MOST_THEMES = 12
OVERLAP = 0.6
"""Share of a wording's comments that lie in a theme, from which it belongs to that theme."""
LONGEST_PHRASE = 3
LONGEST_UNSPACED = 4

Stems = tuple[str, ...]
_WEAK = WEAK_WORDS | {stem(word) for word in WEAK_WORDS}


@dataclass(frozen=True, slots=True)
class Theme:
    """Something that several comments speak of."""

    name: str
    terms: tuple[str, ...]
    """The wordings that were counted, most frequent first."""
    comments: tuple[int, ...]
    """Places of the comments in what was given, ascending."""


@dataclass(slots=True)
class _Wording:
    """A word or phrase, whatever its endings."""

    stems: Stems
    comments: set[int] = field(default_factory=set)
    surfaces: Counter[str] = field(default_factory=Counter)

    @property
    def surface(self) -> str:
        """How it is mostly written."""
        return min(self.surfaces, key=lambda text: (-self.surfaces[text], text))


@dataclass(slots=True)
class _Group:
    wordings: list[_Wording]
    comments: set[int]


def find_themes(comments: Sequence[str]) -> list[Theme]:
    """Find the words and phrases that recur in comments, wordings of the same comments taken together.

    Args:
        comments: The texts; a word counts once per comment.

    Returns:
        At most `MOST_THEMES`, the most frequent first.
    """
    least = max(LEAST_COMMENTS, math.ceil(LEAST_SHARE * len(comments)))
    wordings = [wording for wording in _wordings(comments).values() if len(wording.comments) >= least]
    wordings.sort(key=lambda wording: (-len(wording.comments), -len(wording.stems), wording.stems))
    groups: list[_Group] = []
    for wording in wordings:
        group = _home(wording, groups)
        if group is None:
            groups.append(_Group([wording], set(wording.comments)))
        else:
            group.wordings.append(wording)
            group.comments |= wording.comments
    groups.sort(key=lambda group: (-len(group.comments), group.wordings[0].stems))
    return [_theme(group) for group in groups[:MOST_THEMES]]


def _wordings(comments: Sequence[str]) -> dict[Stems, _Wording]:
    found: dict[Stems, _Wording] = {}
    for place, text in enumerate(comments):
        for words in clauses(text):
            for phrase in _phrases(words):
                stems = tuple(word.stem for word in phrase)
                wording = found.setdefault(stems, _Wording(stems))
                if place not in wording.comments:
                    wording.comments.add(place)
                    wording.surfaces[_surface(phrase)] += 1
    return found


def _phrases(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """The parts of a clause that may be a theme: they begin and end with a word that says something."""
    for start in range(len(words)):
        longest = LONGEST_UNSPACED if words[start].unspaced else LONGEST_PHRASE
        for length in range(1, min(longest, len(words) - start) + 1):
            phrase = words[start : start + length]
            if _may_be_theme(phrase):
                yield phrase


def _may_be_theme(phrase: Sequence[Word]) -> bool:
    if phrase[0].stop or phrase[-1].stop or len({word.unspaced for word in phrase}) > 1:
        return False
    if phrase[0].unspaced:
        return len(phrase) > 1
    strong = [word for word in phrase if not word.stop and word.stem not in _WEAK and word.text not in _WEAK]
    return bool(strong) or (len(phrase) > 1 and phrase[-1].text in PARTICLES)


def _surface(phrase: Sequence[Word]) -> str:
    return ("" if phrase[0].unspaced else " ").join(word.text for word in phrase)


def _home(wording: _Wording, groups: Sequence[_Group]) -> _Group | None:
    """The group that most of a wording's comments belong to."""
    best = max(groups, key=lambda group: len(wording.comments & group.comments), default=None)
    if best is None or len(wording.comments & best.comments) < OVERLAP * len(wording.comments):
        return None
    return best


def _theme(group: _Group) -> Theme:
    """Name a group by its longest wording that most of its comments have."""
    common = [wording for wording in group.wordings if len(wording.comments) >= OVERLAP * len(group.comments)]
    named = max(common or group.wordings[:1], key=lambda wording: (len(wording.stems), len(wording.comments)))
    terms = dict.fromkeys([named.surface, *(wording.surface for wording in group.wordings)])
    return Theme(named.surface, tuple(terms), tuple(sorted(group.comments)))


def count_named(comments: Sequence[str], themes: Mapping[str, Sequence[str]]) -> list[Theme]:
    """Count themes that somebody names by words and phrases, whatever their endings.

    Args:
        comments: The texts.
        themes: Theme name to the words and phrases it goes by; the name itself counts only when it is one of them.

    Returns:
        One per name in the order given, also those that no comment has.
    """
    stems = [[_stems(words) for words in clauses(text)] for text in comments]
    counted = []
    for name, terms in themes.items():
        wanted = [
            found for term in terms if (found := tuple(part for words in clauses(term) for part in _stems(words)))
        ]
        places = [
            place
            for place, parts in enumerate(stems)
            if any(_contains(part, term) for part in parts for term in wanted)
        ]
        counted.append(Theme(name, tuple(terms), tuple(places)))
    return counted


def _stems(words: Sequence[Word]) -> Stems:
    return tuple(word.stem for word in words)


def _contains(stems: Stems, term: Stems) -> bool:
    return any(stems[start : start + len(term)] == term for start in range(len(stems) - len(term) + 1))
