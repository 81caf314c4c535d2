"""How a run names built-in evaluators and their options."""

from typing import Any

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, ScriptError, UsageError
from lfexp_mcp.evaluators import build_evaluator, numeric, parse_evaluators, regex
from lfexp_mcp.scripts import EvaluatorSet


@pytest.mark.parametrize(
    ("given", "name", "options"),
    [
        ("exact_match", "exact_match", {}),
        ("exact_match:ignore_case=true", "exact_match", {"ignore_case": True}),
        ("numeric:tolerance=0.01", "numeric", {"tolerance": 0.01}),
        ("numeric:0.01", "numeric", {"tolerance": 0.01}),
        (
            "numeric:tolerance=0.01,relative=0.05,score_name=total",
            "numeric",
            {"tolerance": 0.01, "relative": 0.05, "score_name": "total"},
        ),
        (r"regex:^\d{1,3}$", "regex", {"pattern": r"^\d{1,3}$"}),
        ("regex:[0-9]", "regex", {"pattern": "[0-9]"}),
        ("regex:a,b=c,score_name=abc", "regex", {"pattern": "a,b=c", "score_name": "abc"}),
        ("contains:Paris, France", "contains", {"value": "Paris, France"}),
        ('contains:["red", "green"]', "contains", {"value": ["red", "green"]}),
        ("contains:[draft]", "contains", {"value": "[draft]"}),
        ("json_fields:total", "json_fields", {"fields": ["total"]}),
        ('json_fields:fields=["a", "b.c"],extra=wrong', "json_fields", {"fields": ["a", "b.c"], "extra": "wrong"}),
        ('json_schema:{"type": "object"}', "json_schema", {"schema": {"type": "object"}}),
        ('{"name": "numeric", "tolerance": 1}', "numeric", {"tolerance": 1}),
        ({"name": "json_schema", "schema": {"type": "array"}}, "json_schema", {"schema": {"type": "array"}}),
    ],
)
def test_options_are_given_as_text_or_as_an_object(
    given: str | dict[str, JsonValue], name: str, options: dict[str, Any]
) -> None:
    (choice,) = parse_evaluators([given])
    built = build_evaluator(choice)
    assert built.evaluator == name
    assert built.model_dump(by_alias=True, exclude_unset=True) == options


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("numeric:tolerance=-1", "tolerance"),
        ("numeric:tolerance=nan", "tolerance"),
        ("numeric:tolerence=1", "tolerance"),
        ("numeric:relative=5", "relative"),
        ("exact_match:x", "ignore_case"),
        ("regex:(", "cannot be compiled"),
        ("json_schema", "schema"),
        pytest.param("json_schema:" + '{"a":' * 100_000, "schema", id="deep"),
        ('json_schema:{"type": "strin"}', "JSON schema"),
        ('{"tolerance": 1}', "names its evaluator"),
        ('{"name": "numeric",', "not JSON"),
        ({"name": "numeric", "tolerance": True, "field": 3}, "field"),
    ],
)
def test_wrong_options_are_refused_with_what_there_is(given: str | dict[str, JsonValue], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_evaluators([given])


def test_an_unknown_evaluator_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFoundError) as refused:
        parse_evaluators(["exact_matc"])
    assert refused.value.near == ("exact_match",)


def test_one_evaluator_named_twice_is_one_and_two_under_one_score_name_are_refused() -> None:
    assert len(parse_evaluators(["exact_match", "exact_match"])) == 1
    with pytest.raises(UsageError, match="score_name"):
        parse_evaluators(["regex:a", "regex:b"])
    assert len(parse_evaluators(["regex:a", "regex:b,score_name=b"])) == 2


def test_other_options_are_another_maker_and_the_name_of_the_score_is_no_option() -> None:
    assert numeric(tolerance=0.0).maker == numeric().maker == numeric(score_name="total").maker
    assert numeric(tolerance=0.1).maker != numeric().maker
    assert not numeric(tolerance=0.1).maker.scores_like(numeric().maker)
    long = regex(pattern="a" * 900).maker
    assert long.options is not None
    assert len(long.options) < 100
    assert long != regex(pattern="a" * 899 + "b").maker


def test_a_built_in_evaluator_gives_no_score_that_another_one_or_a_judge_gives() -> None:
    with pytest.raises(ScriptError, match="'numeric'"):
        EvaluatorSet().with_built_ins([numeric(), numeric(tolerance=1)])
    with pytest.raises(ScriptError, match="'tone'"):
        EvaluatorSet().with_built_ins([numeric(score_name="tone")], ["tone"])
    assert EvaluatorSet().with_built_ins([numeric()], ["tone", "tone"]).evaluators[0].name == "numeric"
