import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import ScoreConfig
from lfexp_mcp.model import BOOLEAN, TEN, UNIT, Category, Scale
from lfexp_mcp.scores.declared_scale import resolve_judge_scale
from lfexp_mcp.scores.prompt_scale import PASS_FAIL, YES_NO, scale_in_prompt


def test_the_prompts_config_wins_over_all_else() -> None:
    found = resolve_judge_scale({"scale": "0-1"}, Scale(1, 5), "Rate from 0 to 100.")
    assert found == (UNIT, "prompt config")


def test_a_score_config_wins_over_the_prompts_text() -> None:
    found = resolve_judge_scale({}, Scale(1, 5), "Rate from 0 to 100.")
    assert found == (Scale(1, 5), "score config")


def test_a_score_config_has_the_scale_of_its_ends_or_labels() -> None:
    labels = (Category("good", 1), Category("bad", 0))
    assert ScoreConfig("c", "tone", "NUMERIC", 1, 5).scale == Scale(1, 5)
    assert ScoreConfig("c", "tone", "CATEGORICAL", categories=labels).scale == Scale.of_categories(labels)
    assert ScoreConfig("c", "tone", "BOOLEAN").scale == BOOLEAN


def test_a_score_config_with_an_open_end_has_no_scale() -> None:
    assert ScoreConfig("c", "tone", "NUMERIC", max_value=5).scale is None
    assert resolve_judge_scale({}, None, "Rate from 0 to 100.") == (Scale(0, 100), "prompt text")


def test_a_judge_that_says_nothing_of_its_scale_answers_0_to_10() -> None:
    found = resolve_judge_scale({"temperature": 0}, None, "Is {{output}} any good?")
    assert found == (TEN, "default")


def test_labels_are_a_scale_of_categories() -> None:
    scale = Scale.of_categories((Category("good", 1), Category("fair", 0.5), Category("bad", 0)))
    assert (scale.kind, scale.low, scale.high) == ("CATEGORICAL", 0, 1)


@pytest.mark.parametrize(
    ("declared", "scale"),
    [
        ("0-10", TEN),
        ("1 to 5", Scale(1, 5)),
        ("0.0-1.0", UNIT),
        ("0\u2013100", Scale(0, 100)),
        ("percent", Scale(0, 100)),
        ("-1..1", Scale(-1, 1)),
        ([1, 7], Scale(1, 7)),
        ({"min": 0, "max": 3}, Scale(0, 3)),
        ({"low": 1, "high": 5}, Scale(1, 5)),
        (
            {"low": 0, "medium": 0.5, "high": 1},
            Scale.of_categories((Category("low", 0), Category("medium", 0.5), Category("high", 1))),
        ),
        ("Pass/Fail", PASS_FAIL),
        ("boolean", BOOLEAN),
    ],
)
def test_a_scale_may_be_declared_as_people_write_it(declared: JsonValue, scale: Scale) -> None:
    assert resolve_judge_scale({"scale": declared}, None, "")[0] == scale


@pytest.mark.parametrize("declared", ["ten", "10-0", [1], [1, 2, 3], {"min": 1}, ["a", "b"], 10, True])
def test_a_declared_scale_that_is_none_is_an_error_with_examples(declared: JsonValue) -> None:
    with pytest.raises(JudgeError, match='"0-10"'):
        resolve_judge_scale({"scale": declared}, None, "")


@pytest.mark.parametrize(
    ("declared", "categories"),
    [
        ({"good": 1, "bad": 0}, (Category("good", 1), Category("bad", 0))),
        (["good", "bad"], (Category("good"), Category("bad"))),
        ([{"label": "A", "value": 3}, {"label": "B", "value": 1}], (Category("A", 3), Category("B", 1))),
    ],
)
def test_categories_come_with_values_or_without(declared: JsonValue, categories: tuple[Category, ...]) -> None:
    assert resolve_judge_scale({"categories": declared}, None, "")[0].categories == categories


@pytest.mark.parametrize("declared", [["one"], ["a", "A"], {"a": "x", "b": 1}, "a,b", [1, 2], {"a": 1, "b": 1}])
def test_categories_that_tell_nothing_apart_are_an_error(declared: JsonValue) -> None:
    with pytest.raises(JudgeError, match="categories"):
        resolve_judge_scale({"categories": declared}, None, "")


def test_lower_is_better_turns_any_scale_of_numbers_round() -> None:
    found = resolve_judge_scale({"lower_is_better": True}, None, "Rate the toxicity from 1 to 5.")
    assert found[0] == Scale(1, 5, lower_is_better=True)


def test_lower_is_better_is_refused_for_labels() -> None:
    with pytest.raises(JudgeError, match="lower_is_better"):
        resolve_judge_scale({"lower_is_better": True, "scale": "pass/fail"}, None, "")


def test_lower_is_better_must_be_a_truth_value() -> None:
    with pytest.raises(JudgeError, match="lower_is_better"):
        resolve_judge_scale({"lower_is_better": "no"}, None, "")


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("Rate the answer on a scale of 0-10.", TEN),
        ("Rate the answer on a scale from 1 to 5, where 5 is best.", Scale(1, 5)),
        ("On a scale of 1 (terrible) to 10 (excellent), how good is it?", Scale(1, 10)),
        ('Return JSON: {"score": 0-10, "reasoning": "..."}', TEN),
        ('{"score": <float between 0 and 1>, "reason": "..."}', UNIT),
        ("Give a score between 0.0 and 1.0.", UNIT),
        ("Score: an integer from 0 to 100", Scale(0, 100)),
        ("Use a 1-5 scale.", Scale(1, 5)),
        ("Give it 0\u201310 points.", TEN),
        ("Score 0-10. 0-3 means poor, a score of 4-6 fair and a score of 7-10 good.", TEN),
        ("Score from 1 to 5 and give 1-2 sentences of reasoning.", Scale(1, 5)),
        ("Rate the summary out of 10.", TEN),
        ("Write the line `Score: <n>/5`.", Scale(0, 5)),
        ("Answer PASS or FAIL.", PASS_FAIL),
        ('Return {"verdict": "PASS" | "FAIL"}', PASS_FAIL),
        ('Return {"score": true or false}', BOOLEAN),
        ("Answer with Yes or No.", YES_NO),
        ("Output only a number 0-10.", TEN),
        ("Answer with 0 or 1.", UNIT),
        ("Output only 1 (correct) or 0 (incorrect)", UNIT),
        ('Return {"score": 0 | 1}', UNIT),
        ("Score: 0 or 1 if it is right.\nThen explain it.", UNIT),
        ("Give 0-2 points for facts and 0-3 points for style, a total score of 0-5.", Scale(0, 5)),
        ("Score 0-10: 0-4 points for facts, 0-6 points for style.", TEN),
        ("0-2 points for facts, 0-3 points for style, 0-5 points in total.", Scale(0, 5)),
        ("Give 0-10 points for quality: 0-3 points for poor, 4-6 points for fair, 7-10 points for good.", TEN),
        ("Give 0-10 points: 0-3 points mean poor, 4-6 points fair, 7-10 points good.", TEN),
        ("Give 0 to 10 points for the answer. Reply with 0 to 10 points only.", TEN),
        ("Score: 0-5 points\nReturn the score: 0-5 points", Scale(0, 5)),
        ("Give 0-5 points for the answer, 1 point for each correct fact.", Scale(0, 5)),
        ("Rate the answer from 1 to 5 on accuracy and from 1 to 5 on style, and give the mean.", Scale(1, 5)),
    ],
)
def test_a_scale_is_found_in_the_prompts_own_words(text: str, scale: Scale) -> None:
    assert scale_in_prompt(text) == scale


@pytest.mark.parametrize(
    "text",
    [
        "",
        "How good is {{output}}?",
        "Give a score and 1-2 sentences of reasoning.",
        "The answer should name between 1 and 5 cities.",
        "Written 2019-2024, chapters 3-5.",
        "Score the tone from 0 to 3 and score the style from 1 to 5.",
        "Decide whether the tests pass or fail, then score them.",
        "Score against ISO 27001-2.",
        "The score of an answer with 0 or 1 mistakes is good.",
        "Score 10 or 11 items, and return 1 or 0.5 for each.",
        "Give 0 to 2 points for correctness and 0 to 3 points for style.",
        "Give 0-2 points for correctness and 0-3 for style.",
        "Award between 0 and 2 points for facts and between 0 and 3 points for style. Add them up.",
        "0-5 points for accuracy, 0-5 points for style.",
        "0-5 points for accuracy\n0-5 points for style\n0-2 points for brevity",
        "Rubric:\n- Accuracy (0-4 points): facts are right.\n- Clarity (0-3 points): reads well.\n- Style (0-3 points)",
        "Accuracy: 0-5 points\nStyle: 0-5 points",
        "Score accuracy: 0-2 pts. Score tone: 0-1 pts. Report the sum.",
        "Grade with 0-2 marks for method and 0-3 marks for the result.",
        "Score from 0 to 3 for the tone and from 0 to 5 for the style.",
    ],
)
def test_no_scale_is_read_into_other_ranges(text: str) -> None:
    assert scale_in_prompt(text) is None
