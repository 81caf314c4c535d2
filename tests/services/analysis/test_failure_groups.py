"""Groups of failures, on tables of odd cases with the answer that a careful reader would give."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.analysis import FailureGroup
from lfexp_mcp.model import (
    Category,
    Content,
    EvaluatorFailure,
    ItemResult,
    JudgeMaker,
    RunRecord,
    Scale,
    Score,
    ScriptMaker,
)
from lfexp_mcp.services.analysis.distributions import slice_run
from lfexp_mcp.services.analysis.expected_actual import LabelledResult, expected_fields, group_by_expected, label_of
from lfexp_mcp.services.analysis.failure_groups import find_groups, show_groups
from lfexp_mcp.services.analysis.notable_items import find_failures
from lfexp_mcp.services.analysis.output_shapes import OutputLook, output_shape, output_shapes
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.runs.scored_run import interpret_run
from lfexp_mcp.themes.templates import group_texts

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "test.jsonl"
FOLDER = Path(__file__).parent
GRADES = JudgeMaker(
    "judge-grade",
    1,
    scale=Scale.of_categories((Category("good", 1), Category("bad", 0))),
    scale_source="prompt config",
)


def _cases(name: str) -> list[Any]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [pytest.param(case, id=case["why"][:60]) for case in map(json.loads, lines)]


def _results(given: Sequence[dict[str, Any]]) -> list[ItemResult]:
    results: list[ItemResult] = []
    for entry in given:
        for _ in range(entry.get("count", 1)):
            number = len(results)
            of_task = "error" in entry and entry.get("of", "task") == "task"
            of_judge = (EvaluatorFailure("judge", entry["error"]),) if entry.get("of") == "judge" else ()
            named = entry.get("score")
            score = Score(
                id=f"s{number}",
                name=named if isinstance(named, str) else "acc",
                value=1.0 if entry.get("passing") else 0.0,
                data_type="NUMERIC",
                trace_id="t",
                comment=entry.get("comment"),
            )
            results.append(
                ItemResult(
                    entry.get("item", f"i{number}"),
                    "failed" if of_task else "succeeded",
                    content=Content(
                        input=f"q{number}",
                        output=None if of_task else entry.get("actual", entry.get("output", f"o{number}")),
                        expected_output=entry.get("expected"),
                    ),
                    error=entry["error"] if of_task else None,
                    scores=() if of_task or of_judge else (score,),
                    unscored=of_judge,
                    repeat=entry.get("repeat", 0),
                )
            )
    return results


def _grouped(results: Sequence[ItemResult], repeats: int = 1, rows: int = 10) -> list[FailureGroup]:
    ids = tuple(f"e{repeat}" for repeat in range(repeats))
    record = RunRecord("d", "d", "r", ids, "completed", tuple(results), len(results))
    values = interpret_run(record, {})
    names = sorted(values.interpretations)
    return show_groups(find_groups(values, names, find_failures(values, names, 0.5)), record, AnswerSize(150, rows))


@pytest.mark.parametrize("case", _cases("failure_groups.jsonl"))
def test_failures_are_grouped_by_what_they_share(case: dict[str, Any]) -> None:
    groups = _grouped(_results(case["results"]))
    assert [[one.by, one.where, one.key, one.count, one.of] for one in groups] == case["groups"]


@pytest.mark.parametrize("case", _cases("output_shapes.jsonl"))
def test_an_output_is_named_by_what_looks_wrong_with_it(case: dict[str, Any]) -> None:
    assert output_shape(case["output"], case["expected_output"]) == case["looks"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expected", "labels"),
    [
        (["spam", "ham", "phish"] * 33, True),
        ([f"city {n}" for n in range(100)], None),
        ([*(f"v{n}" for n in range(94)), *["unknown"] * 6], None),
        (["yes", "no", "yes", "no"], True),
        (["a", "b", "c"], None),
        ([1, 2, 3, 4, 5] * 20, True),
        ([n % 500 for n in range(1319)], False),
        ([str(n % 500) for n in range(1319)], False),
        ([n / 7 for n in range(100)], False),
        ([f"2024-05-{n:02}" for n in range(1, 29)], None),
        ([True, False] * 10, True),
        (list("ABCD") * 12, True),
        ([f"intent {n % 60}" for n in range(3000)], True),
        ([*[None] * 90, *["yes", "no"] * 5], True),
        ([{"label": "ab"[n % 2], "id": f"id {n}"} for n in range(30)], True),
        ([], None),
    ],
)
def test_values_that_repeat_are_labels_and_many_numbers_are_quantities(
    expected: list[JsonValue], labels: bool | None
) -> None:
    results = [
        ItemResult(
            f"i{n}",
            "succeeded",
            content=Content(output={} if isinstance(value, dict) else "wrong", expected_output=value),
        )
        for n, value in enumerate(expected)
    ]
    labelled = [LabelledResult.of(result, expected_fields(results)) for result in results]
    assert [one.labels for one in group_by_expected(labelled, labelled)] == ([] if labels is None else [labels])


def test_labels_are_told_by_the_whole_run_and_not_by_what_fails() -> None:
    passing: list[dict[str, Any]] = [
        {"expected": label, "actual": label, "passing": True, "count": 30} for label in ("x", "y", "z")
    ]
    failing: list[dict[str, Any]] = [{"expected": "x", "actual": "y", "count": 2}, {"expected": "y", "actual": "z"}]
    groups = _grouped(_results([*passing, *failing]))
    assert [(one.key, one.count, one.of) for one in groups] == [('"x" -> "y"', 2, 32), ("(others)", 1, 3)]


@pytest.mark.skipif(not GSM8K.exists(), reason="needs the GSM8K answers beside the repository")
def test_wrong_numbers_are_grouped_by_how_they_differ() -> None:
    answers = [json.loads(line)["answer"] for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    results: list[dict[str, Any]] = [{"expected": one, "actual": one, "passing": True} for one in answers[200:]]
    results += [{"expected": answer, "actual": str(int(answer) * 10)} for answer in answers[:100]]
    results += [{"expected": answer, "actual": f"about {answer}"} for answer in answers[100:150]]
    results += [{"expected": answer, "actual": int(answer) + 17} for answer in answers[150:200]]
    groups = {one.key: (one.count, one.of) for one in _grouped(_results(results)) if one.by == "expected and actual"}
    assert groups == {"expected × 10^1": (100, 200), "(not a number)": (50, 200)}  # noqa: RUF001


def test_what_a_comment_repeats_of_expected_and_actual_is_said_once() -> None:
    failing: list[dict[str, Any]] = [
        {"expected": "spam", "actual": "ham", "comment": '"ham" where "spam" is expected', "count": 4},
        {"expected": "ham", "actual": "spam", "comment": '"spam" where "ham" is expected', "count": 3},
        {"expected": "ham", "actual": "spam", "comment": "Too polite"},
    ]
    passing: list[dict[str, Any]] = [{"expected": "ham", "actual": "ham", "passing": True, "count": 9}]
    groups = _grouped(_results([*failing, *passing]))
    assert [(one.by, one.key, one.count, one.of) for one in groups] == [
        ("expected and actual", '"ham" -> "spam"', 4, 13),
        ("expected and actual", '"spam" -> "ham"', 4, 4),
        ("comment", '"spam" where "ham" is expected', 3, 8),
        ("comment", "(others)", 1, 4),
    ]


def test_outputs_that_only_contain_what_is_expected_are_no_confusion() -> None:
    said: list[dict[str, Any]] = [{"expected": label, "actual": f"It is {label}, I think."} for label in "ab" * 10]
    results = [*({**one, "passing": True} for one in said), *({**one, "actual": "No idea."} for one in said)]
    assert {one.by for one in _grouped(_results(results))} == {"output"}


def test_numbers_in_comments_are_told_apart_only_where_they_are_few() -> None:
    few = _grouped(_results([{"comment": f"got {n % 2}, wanted {n % 3}"} for n in range(60)]))
    assert len(few) == 6
    many = _grouped(_results([{"comment": f"got {n % 40}, wanted {n % 30}"} for n in range(600)]))
    assert [(one.key, one.count) for one in many] == [("got <number>, wanted <number>", 600)]


def test_what_is_in_no_group_shown_is_counted() -> None:
    results = _results([{"error": f"Error{'ab'[n % 2]} {'xyz'[n % 3] * 5}"} for n in range(60)] + [{"error": "once"}])
    groups = _grouped(results, rows=3)
    assert [one.count for one in groups] == [10, 10, 10, 31]
    assert groups[-1].key == "(others)"


def test_results_of_repeats_are_counted_beside_their_items() -> None:
    results = [
        replace(result, item_id=f"i{n % 2}", repeat=n // 2)
        for n, result in enumerate(_results([{"expected": "a", "actual": "b", "count": 6}]))
    ]
    (group,) = _grouped(results, repeats=3)
    assert (group.count, group.items, group.examples) == (6, 2, ["i0", "i1"])


def test_a_look_that_passing_outputs_share_is_no_group() -> None:
    refusals = [{"output": f"I'm sorry, I can't share that, {n}."} for n in range(4)]
    assert _grouped(_results([*refusals, *({**one, "passing": True} for one in refusals)])) == []
    (group,) = _grouped(_results([*refusals, {"output": "Yes.", "passing": True, "count": 4}]))
    assert (group.by, group.key, group.count, group.of) == ("output", "refusal", 4, 4)


@pytest.mark.parametrize(
    ("score", "makes_a_group"),
    [
        (Score("s", "grade", "unsure", "CATEGORICAL", maker=GRADES), True),
        (Score("s", "grade", "good", "CATEGORICAL", maker=GRADES), False),
        (Score("s", "note", "to be seen", "TEXT"), True),
        (Score("s", "words", 0.0, "NUMERIC", maker=ScriptMaker("words", "w.py", "aa", unit="words")), True),
        (Score("s", "acc", 1.0, "NUMERIC"), False),
    ],
)
def test_an_output_with_a_score_that_neither_passes_nor_fails_is_not_taken_to_pass(
    score: Score, *, makes_a_group: bool
) -> None:
    good = Score("g", score.name, "good" if isinstance(score.value, str) else 1.0, score.data_type, maker=score.maker)
    fine = [ItemResult(f"f{n}", "succeeded", Content(output=f"Fine, {n}."), scores=(good,)) for n in range(4)]
    empty = [ItemResult(f"e{n}", "succeeded", Content(output=""), scores=(score,)) for n in range(3)]
    found = [(group.by, group.count) for group in _grouped([*fine, *empty])]
    assert found == ([("output", 3)] if makes_a_group else [])


def test_the_same_output_for_different_inputs_is_a_group_unless_it_is_a_label() -> None:
    (group,) = _grouped(_results([{"output": "Same text for every item", "count": 17}]))
    assert (group.key, group.count) == ('same output: "Same text for every item"', 17)
    labels = _grouped(_results([{"expected": "no", "actual": "yes", "count": 50}]))
    assert [one.by for one in labels] == ["expected and actual"]


def test_long_texts_without_an_end_are_cut_off_where_most_have_one() -> None:
    whole = " ".join(f"Sentence {n} is whole." for n in range(12))
    texts = [*[whole] * 4, f"{whole} And th"]
    looks = [
        OutputLook.of(ItemResult(f"i{n}", "succeeded", content=Content(output=text))) for n, text in enumerate(texts)
    ]
    assert output_shapes(looks) == [None, None, None, None, "cut off"]
    assert output_shapes(looks[3:]) == [None, None]


def test_comments_that_were_not_read_are_not_counted_as_others() -> None:
    results = _results([{"comment": "No match", "expected": "a", "actual": "b", "count": 30}])
    record = RunRecord("d", "d", "r", ("e",), "completed", tuple(results), len(results))
    values = interpret_run(record, {})
    failures = find_failures(values, ["acc"], 0.5)
    groups = show_groups(find_groups(values, ["acc"], failures[:20], failures[20:]), record, AnswerSize(150, 10))
    assert [(one.by, one.count, one.of) for one in groups] == [("expected and actual", 30, 30), ("comment", 20, 20)]


def test_a_key_in_a_message_is_masked() -> None:
    (group,) = _grouped(
        _results([{"error": "AuthenticationError: Incorrect API key: sk-proj-abc123def456", "count": 3}])
    )
    assert "abc123" not in group.model_dump_json()


@pytest.mark.parametrize("text", ["0x" + "f" * 1_000_000, '"' * 1_000_000, "/" * 1_000_000, "1." * 500_000])
def test_texts_of_any_size_and_kind_are_grouped(text: str) -> None:
    assert [len(group.indices) for group in group_texts([text, text])] == [2]


def test_values_that_are_nested_deeply_have_labels_and_metadata_that_is_makes_no_slices() -> None:
    deep = json.loads("[" * 600 + "1.0" + "]" * 600)
    assert label_of(deep).startswith("[" * 100)
    nested = json.loads('{"a":' * 600 + '"x"' + "}" * 600)
    result = ItemResult("i", "succeeded", content=Content(metadata={"kind": "short", "deep": nested}))
    assert slice_run(interpret_run(RunRecord("d", "id", "run", ("e",), "completed", (result,), 1), {}), []) == []


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1, 1.0, True),
        ([1.0, {"a": 2.0}], [1, {"a": 2}], True),
        ("1", 1, False),
        ("1.0", "1", False),
        (1e16, 10**16, True),
    ],
)
def test_equal_numbers_have_one_label(one: JsonValue, other: JsonValue, alike: bool) -> None:
    assert (label_of(one) == label_of(other)) is alike
