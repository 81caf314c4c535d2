"""Tests that a packed result is the same result in less memory."""

import tracemalloc
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lfexp_mcp.model import (
    TEN,
    BuiltInMaker,
    Content,
    EvaluatorFailure,
    ItemResult,
    JudgeMaker,
    Score,
    ScriptMaker,
)
from lfexp_mcp.runs.packed_result import MAX_VALUES, PackedResult

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
JUDGE = JudgeMaker("judge-tone", 2, "openai", "gpt-4o", TEN, "prompt config")
SCORES = (
    Score("a", "right", True, "BOOLEAN", "Yes.", timestamp=AT, maker=ScriptMaker("right", "c.py", "0" * 64)),
    Score("b", "right", 1.0, "NUMERIC", maker=ScriptMaker("right", "c.py", "0" * 64), trace_id="t", observation_id="o"),
    Score("c", "tone", 0.1, "NUMERIC", raw=1.0, maker=JUDGE, metadata={"votes": [1, {"x": None}], "ä": "\ud800"}),
    Score("d", "tone", 1.0, "NUMERIC", raw=11.0, clamped=True, maker=JUDGE, timestamp=datetime(2026, 1, 2, 3)),  # noqa: DTZ001
    Score("e", "kind", "polite", "CATEGORICAL", "", maker=BuiltInMaker("contains")),
    Score("f", "tone", 0.5, "NUMERIC", None, "ANNOTATION", author="ann", config_id="c", queue_id="q", maker=JUDGE),
)
PLAIN = ItemResult(
    "i",
    "failed",
    content=Content("in", {"out": [1]}, "ref", {"k": "v"}),
    error="It broke.",
    trace_id="f" * 32,
    observation_id="1" * 16,
    started=AT.astimezone(timezone(timedelta(hours=5, minutes=30))),
    seconds=0.1,
    scores=SCORES,
    unscored=(EvaluatorFailure("tone", "down", JUDGE, AT),),
    repeat=3,
)


def _packed(result: ItemResult) -> PackedResult:
    return PackedResult(**{each.name: getattr(result, each.name) for each in fields(result)})


@pytest.mark.parametrize(
    "plain", [PLAIN, ItemResult("i", "pending"), replace(PLAIN, trace_id="F" * 32, observation_id="0a 0b", scores=())]
)
def test_a_packed_result_has_all_that_was_packed(plain: ItemResult) -> None:
    packed = _packed(plain)
    assert {each.name: getattr(packed, each.name) for each in fields(plain)} == {
        each.name: getattr(plain, each.name) for each in fields(plain)
    }
    assert [type(score.value) for score in packed.scores] == [type(score.value) for score in plain.scores]
    assert packed == _packed(plain)


def test_what_is_changed_of_a_packed_result_is_packed_too() -> None:
    changed = replace(_packed(PLAIN), scores=SCORES[:1], unscored=())
    assert isinstance(changed, PackedResult)
    assert (changed.scores, changed.unscored, changed.seconds, changed.output) == (SCORES[:1], (), 0.1, {"out": [1]})


def test_bare_scores_lack_only_what_identifies_and_explains_them() -> None:
    bare = _packed(PLAIN).bare_scores
    assert [type(score.value) for score in bare] == [type(score.value) for score in SCORES]
    assert list(bare) == [
        replace(score, id="", comment=None, timestamp=None, trace_id=None, observation_id=None) for score in SCORES
    ]


def test_bare_scores_of_equal_values_are_one_object() -> None:
    first, second = (_packed(replace(PLAIN, item_id=name)).bare_scores for name in "ab")
    assert first[0] is second[0]
    assert first[2] is not second[2], "scores with metadata of their own"


def test_many_results_take_little_memory_whatever_their_values() -> None:
    count = 2 * MAX_VALUES

    def results() -> list[PackedResult]:
        return [
            _packed(
                ItemResult(
                    "i",
                    "succeeded",
                    trace_id=f"{number:032x}",
                    observation_id=f"{number:016x}",
                    started=AT + timedelta(seconds=number),
                    seconds=number / 7,
                    scores=(Score(f"{number:032x}", "tone", number / 7, "NUMERIC", timestamp=AT, maker=JUDGE),),
                )
            )
            for number in range(count)
        ]

    results()
    tracemalloc.start()
    try:
        kept = results()
        taken = tracemalloc.get_traced_memory()[0]
        for result in kept:
            _ = result.bare_scores
        looked_at = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken / count < 600
    assert (looked_at - taken) / MAX_VALUES < 600, "only some values are shared"
