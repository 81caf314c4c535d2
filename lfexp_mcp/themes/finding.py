"""Find themes that comments share, and count themes that a caller names."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from lfexp_mcp.themes.words import PARTICLES, WEAK_WORDS, Word, clauses, stem

MIN_COMMENTS = 3
"""A theme needs this many comments, and `MIN_SHARE` of all."""
MIN_SHARE = 0.05
MAX_THEMES = 12
MIN_OVERLAP = 0.6
"""A term joins a theme when this share of its comments has the theme already."""
MAX_PHRASE_WORDS = 3
MAX_PHRASE_CHARS_UNSPACED = 4
"""In scripts without spaces, where each character is a word."""

Stems = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Theme:
    """A topic that several comments share."""

    name: str
    terms: tuple[str, ...]
    """The words and phrases counted, the name first, then the most frequent."""
    comments: tuple[int, ...]
    """Indices of the comments, ascending."""


@dataclass(slots=True)
class _Term:
    """A word or phrase, identified by its stems."""

    stems: Stems
    comments: set[int] = field(default_factory=set)
    surfaces: Counter[str] = field(default_factory=Counter)

    @property
    def surface(self) -> str:
        """The most frequent spelling."""
        return min(self.surfaces, key=lambda text: (-self.surfaces[text], text))


@dataclass(slots=True)
class _Group:
    terms: list[_Term]
    comments: set[int]


def find_themes(comments: Sequence[str]) -> list[Theme]:
    """Find the words and phrases that recur in comments, and group those that occur in the same comments.

    Args:
        comments: The texts; a term counts once per comment.

    Returns:
        At most `MAX_THEMES` themes, the most frequent first.

    Example:
        >>> find_themes(["Wrong unit.", "The unit is missing", "Units again"])
        [Theme(name='unit', terms=('unit',), comments=(0, 1, 2))]
    """
    needed = max(MIN_COMMENTS, math.ceil(MIN_SHARE * len(comments)))
    terms = [term for term in _terms(comments).values() if len(term.comments) >= needed]
    # Of terms that are as frequent, the longest phrase first: it names the theme.
    terms.sort(key=lambda term: (-len(term.comments), -len(term.stems), term.stems))
    groups: list[_Group] = []
    for term in terms:
        group = _best_group(term, groups)
        if group is None:
            groups.append(_Group([term], set(term.comments)))
        else:
            group.terms.append(term)
            group.comments |= term.comments
    groups.sort(key=lambda group: (-len(group.comments), group.terms[0].stems))
    return [_theme(group) for group in groups[:MAX_THEMES]]


def _terms(comments: Sequence[str]) -> dict[Stems, _Term]:
    found: dict[Stems, _Term] = {}
    for place, text in enumerate(comments):
        for words in clauses(text):
            for phrase in _phrases(words):
                stems = tuple(word.stem for word in phrase)
                term = found.setdefault(stems, _Term(stems))
                if place not in term.comments:
                    term.comments.add(place)
                    term.surfaces[_surface(phrase)] += 1
    return found


def _phrases(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Yield the parts of a clause that may be a theme: they neither begin nor end with a stop word."""
    for start in range(len(words)):
        longest = MAX_PHRASE_CHARS_UNSPACED if words[start].unspaced else MAX_PHRASE_WORDS
        for length in range(1, min(longest, len(words) - start) + 1):
            phrase = words[start : start + length]
            if _may_be_theme(phrase):
                yield phrase


@cache
def _weak_stems() -> frozenset[str]:
    return frozenset(map(stem, WEAK_WORDS))


def _may_be_theme(phrase: Sequence[Word]) -> bool:
    if phrase[0].stop or phrase[-1].stop or len({word.unspaced for word in phrase}) > 1:
        return False
    if phrase[0].unspaced:
        return len(phrase) > 1
    has_strong = any(not word.stop and word.stem not in _weak_stems() for word in phrase)
    return has_strong or (len(phrase) > 1 and phrase[-1].text in PARTICLES)


def _surface(phrase: Sequence[Word]) -> str:
    return ("" if phrase[0].unspaced else " ").join(word.text for word in phrase)


def _best_group(term: _Term, groups: Sequence[_Group]) -> _Group | None:
    """Return the group that shares the most comments with a term, if they overlap enough."""
    best = max(groups, key=lambda group: len(term.comments & group.comments), default=None)
    if best is None or len(term.comments & best.comments) < MIN_OVERLAP * len(term.comments):
        return None
    return best


def _theme(group: _Group) -> Theme:
    """Name a group by its longest term that most of its comments have."""
    common = [term for term in group.terms if len(term.comments) >= MIN_OVERLAP * len(group.comments)]
    longest = max(common or group.terms[:1], key=lambda term: (len(term.stems), len(term.comments)))
    terms = dict.fromkeys([longest.surface, *(term.surface for term in group.terms)])
    return Theme(longest.surface, tuple(terms), tuple(sorted(group.comments)))


def count_named(comments: Sequence[str], themes: Mapping[str, Sequence[str]]) -> list[Theme]:
    """Count themes that the caller names, by the stems of their words and phrases.

    Args:
        themes: Terms by theme name; the name itself counts only if it is one of them.

    Returns:
        One theme per name, in the given order, including those without comments.
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
