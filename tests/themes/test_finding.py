"""Themes of comments."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.themes import count_named, find_themes
from lfexp_mcp.themes.words import stem

COMMENTS = Path(__file__).with_name("comments.tsv")


def _labelled() -> tuple[list[str], dict[str, set[int]]]:
    texts: list[str] = []
    known: dict[str, set[int]] = defaultdict(set)
    for place, line in enumerate(COMMENTS.read_text(encoding="utf-8").splitlines()):
        labels, text = line.split("\t")
        texts.append(text)
        for label in filter(None, labels.split(", ")):
            known[label].add(place)
    return texts, known


def test_every_known_theme_is_found_with_its_comments() -> None:
    texts, known = _labelled()
    assert len(texts) >= 60
    found = [set(theme.comments) for theme in find_themes(texts)]
    for label, places in known.items():
        best = max(found, key=lambda theme: len(theme & places))
        assert len(best & places) >= 0.8 * len(places), label
        assert len(best & places) >= 0.8 * len(best), label


def test_no_theme_is_invented_and_none_is_found_twice() -> None:
    texts, known = _labelled()
    themes = find_themes(texts)
    matched = [max(known, key=lambda label: len(known[label] & set(theme.comments))) for theme in themes]
    for theme, label in zip(themes, matched, strict=True):
        assert len(known[label] & set(theme.comments)) >= 0.8 * len(theme.comments), theme
    assert len(set(matched)) == len(matched) == len(known)


def test_comments_without_anything_in_common_have_no_theme() -> None:
    texts, known = _labelled()
    labelled = set().union(*known.values())
    assert find_themes([text for place, text in enumerate(texts) if place not in labelled]) == []


def test_a_theme_goes_by_its_longest_common_wording() -> None:
    texts, _ = _labelled()
    names = {theme.name for theme in find_themes(texts)}
    assert {"baggage allowance", "date format", "too long", "made up", "tone"} <= names


def test_themes_somebody_names_are_counted_whatever_their_endings() -> None:
    texts = ["So rude.", "curtly answered, rude!", "The rudeness", "Citations missing", "no CITATION given", "fine"]
    counted = count_named(texts, {"tone": ["rude", "curt"], "sources": ["citation"], "maths": ["sum"]})
    assert [(theme.name, theme.comments) for theme in counted] == [
        ("tone", (0, 1, 2)),
        ("sources", (3, 4)),
        ("maths", ()),
    ]


def test_a_named_phrase_counts_only_as_a_phrase() -> None:
    counted = count_named(["wrong unit here", "the unit is wrong", "wrong units"], {"unit": ["wrong unit"]})
    assert counted[0].comments == (0, 2)


def test_other_scripts_are_read_too() -> None:
    chinese = ["退款政策不对", "没有提到退款政策", "退款政策过时了", "很好"]
    assert "退款政策" in find_themes(chinese)[0].name
    assert find_themes(chinese)[0].comments == (0, 1, 2)
    german = ["Die Rückerstattung fehlt", "Keine Rückerstattung erwähnt", "rückerstattung falsch berechnet"]
    assert find_themes(german)[0].name == "rückerstattung"
    russian = ["Тон грубый", "грубый тон!", "Слишком грубый ответ"]
    assert find_themes(russian)[0].name == "грубый"


@pytest.mark.parametrize("texts", [[], [""], ["..."], ["rude", "rude"]])
def test_few_or_empty_comments_have_no_theme(texts: list[str]) -> None:
    assert find_themes(texts) == []


@pytest.mark.slow
@given(st.lists(st.text(max_size=60), max_size=12))
def test_any_text_is_taken_and_always_gives_the_same_themes(texts: list[str]) -> None:
    themes = find_themes(texts)
    assert themes == find_themes(texts)
    assert all(set(theme.comments) <= set(range(len(texts))) for theme in themes)


@pytest.mark.parametrize(
    "words",
    [
        ("citation", "citations"),
        ("hallucinate", "hallucinates", "hallucinated", "hallucinating"),
        ("policy", "policies"),
        ("stop", "stopped", "stopping", "stops"),
        ("make", "makes", "made", "making"),
        ("miss", "misses", "missed", "missing"),
    ],
)
def test_forms_of_one_word_share_their_stem(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1


CODE_REVIEW = """
SQL injection not mentioned
Misses the SQL injection in line 4
sql injection risk ignored!
No mention of injection via the id parameter
Variable names are unclear
naming is unclear, what is x2?
Unclear variable naming
Renames variables for no reason
The suggested fix does not compile
doesn't compile
Code does not compile on Java 8
Would not even compile
compile error in the patch
Nice catch on the off-by-one
Very thorough review, thanks
Good
Agree with the second point
Missed the race condition
Race condition not spotted
the race condition between read and write is the real bug
Explains the diff instead of reviewing it
Just describes the diff
Just summarises the diff
"""


def test_comments_of_another_trade_have_their_own_themes() -> None:
    themes = {theme.name: len(theme.comments) for theme in find_themes(CODE_REVIEW.strip().splitlines())}
    assert themes == {"compile": 5, "sql injection": 4, "naming": 4, "race condition": 3, "diff": 3}
