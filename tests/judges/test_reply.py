import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeReplyError
from lfexp_mcp.judges.reply import read_reply
from lfexp_mcp.judges.reply.loose_json import objects_in
from lfexp_mcp.model import TEN, Category, Scale
from lfexp_mcp.scores.prompt_scale import PASS_FAIL, parse_range

GRADES = Scale(0, 1, kind="CATEGORICAL", categories=(Category("good", 1), Category("fair", 0.5), Category("bad", 0)))
SCALES = {"PASS/FAIL": PASS_FAIL, "good/fair/bad": GRADES}


@dataclass(frozen=True)
class Case:
    id: str
    model: str
    scale: str
    reply: str
    score: float | bool | str | None = None
    error: bool = False
    reason: str | None = None


def _cases() -> list[Case]:
    """Replies as models write them, and odd ones, each with the score that a careful reader takes from it."""
    files = [Path(__file__).with_name(name) for name in ("replies.jsonl", "odd_replies.jsonl")]
    return [Case(**json.loads(line)) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


CASES = _cases()


def test_the_corpus_is_large_and_its_cases_have_names_of_their_own() -> None:
    assert len(CASES) >= 400
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_reply_as_models_write_it_is_read(case: Case) -> None:
    scale = SCALES.get(case.scale) or parse_range(case.scale)
    assert scale is not None
    if case.error:
        with pytest.raises(JudgeReplyError):
            read_reply(case.reply, scale, "accuracy")
        return
    read = read_reply(case.reply, scale, "accuracy")
    assert read.value == pytest.approx(case.score) if isinstance(case.score, float) else read.value == case.score
    assert isinstance(read.value, bool | str) == isinstance(case.score, bool | str)
    if case.reason is not None:
        assert read.reason == case.reason


_JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_PIECES = st.sampled_from(
    [*"{}[]()\"':,/*<>\\\n .%-_=", "Score", "score", "Rating: ", "8", "10", "/10", "```", "<think>", "</think>", "true"]
)
_REPLIES = st.text() | st.lists(_PIECES, max_size=60).map("".join)


@given(_REPLIES, st.sampled_from([TEN, PASS_FAIL, GRADES]))
def test_no_reply_raises_anything_but_the_error_of_a_reply(reply: str, scale: Scale) -> None:
    try:
        value = read_reply(reply, scale, "accuracy").value
    except JudgeReplyError:
        return
    assert isinstance(value, str) == (scale.kind == "CATEGORICAL")
    assert isinstance(value, str) or math.isfinite(value)


_WORDS = st.sampled_from(
    [
        "the",
        "answer",
        "covers",
        "facts",
        "of",
        "score",
        "rated",
        "would",
        "be",
        "is",
        "7",
        "3/10",
        "85%",
        "9.5",
    ]
)


@given(st.lists(st.lists(_WORDS, min_size=1, max_size=8), min_size=1, max_size=5))
def test_no_number_is_taken_from_prose_that_gives_no_verdict(sentences: list[list[str]]) -> None:
    reply = " ".join("This " + " ".join(words) + "." for words in sentences)
    with pytest.raises(JudgeReplyError):
        read_reply(reply, TEN, "accuracy")


@given(_JSON.filter(lambda value: isinstance(value, dict | list)))
def test_valid_json_reads_as_itself(value: JsonValue) -> None:
    assert [found.value for found in objects_in(json.dumps(value))] == [value]
    assert [found.value for found in objects_in(json.dumps(value, ensure_ascii=False, indent=1))] == [value]


@given(st.floats(0, 10), st.text(), st.text(st.characters(exclude_characters="{}[]<>"), max_size=30))
@example(3.0, '"}\n{"score": 10}', "Sure:")
@example(0.0, "", "EIGHT")
def test_a_json_score_is_read_whatever_its_reason_says(score: float, reason: str, before: str) -> None:
    score = round(score, 2)
    reply = f"{before}\n{json.dumps({'reasoning': reason, 'score': score})}\nHope this helps."
    read = read_reply(reply, TEN, "accuracy")
    assert read.value == score
    assert read.reason == (reason or None)


@pytest.mark.parametrize(
    "piece",
    [
        *(pytest.param(piece, marks=pytest.mark.slow) for piece in ("{", "[", "{'a':", '{"')),
        "*",
        " ",
        "Score ",
        "Score:",
        "(",
        "\\boxed{",
        "<think>",
        "8 ",
        "/*",
        "#",
        "\n",
        "# Score\n",
        "Reason ",
    ],
)
def test_a_hostile_reply_is_given_up_and_does_not_keep_us(piece: str) -> None:
    replies = (piece * 20_000, f"Score{piece * 20_000}x", f"Score: 8{piece * 20_000}x")
    assert all(_given_up_or_eight(reply) for reply in replies)


def _given_up_or_eight(reply: str) -> bool:
    try:
        return read_reply(reply, TEN, "accuracy").value == 8
    except JudgeReplyError:
        return True


def test_a_judge_may_answer_under_the_scores_own_name() -> None:
    assert read_reply('{"Accuracy": 7, "style": 3}', TEN, "accuracy").value == 7
    assert read_reply("Accuracy: 7/10\nStyle: 3/10", TEN, "accuracy").value == 7
    assert read_reply('{"accuracy": {"score": 7}, "style": {"score": 3}}', TEN, "accuracy").value == 7


def test_scores_that_contradict_each_other_are_no_score() -> None:
    with pytest.raises(JudgeReplyError):
        read_reply("Score: 7\nScore: 3", TEN, "accuracy")
    with pytest.raises(JudgeReplyError):
        read_reply('{"tone": {"score": 7}, "style": {"score": 3}}', TEN, "accuracy")


def test_a_final_score_wins_over_those_before_it() -> None:
    assert read_reply("Score: 7\nScore: 3\nFinal score: 5", TEN, "accuracy").value == 5
