"""Conditions under which a run fails."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.errors import UsageError
from lfexp_mcp.services.gates import NotWorse, RunMeasures, Threshold, check_gate, parse_condition

RUN = RunMeasures(
    run="new",
    values={"accuracy": 0.75, "my score": 0.5, "error_rate": 0.2},
    deltas={"accuracy": -0.05, "error_rate": 0.1},
    verdicts={"accuracy": "worse", "my score": "inconclusive"},
    unusable={"length": "its values fit no 0-1 or 0-10 scale."},
)
KNOWN = ["accuracy", "my score", "length"]


def _passes(expression: str) -> bool:
    return check_gate([parse_condition(expression)], [RUN], KNOWN).passed


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("accuracy<0.8", False),
        ("accuracy < 0.7", True),
        ("accuracy<=0.75", False),
        ("accuracy<75%", True),
        ("accuracy.delta<-0.02", False),
        ("accuracy.delta < -.1", True),
        ("error_rate>0.1", False),
        ("error_rate.delta>=0.2", True),
        ("worse", False),
        ("accuracy.worse", False),
        ("my score.worse", True),
        ("'my score' < 0.4", True),
        ("length<3", False),
        ("my score.delta<0", False),
    ],
)
def test_a_condition_fails_what_it_describes(expression: str, passed: bool) -> None:
    assert _passes(expression) is passed


def test_names_may_hold_dots_and_dashes() -> None:
    assert parse_condition("judge-a.b<1") == Threshold("judge-a.b<1", "judge-a.b", False, "<", 1.0)
    assert parse_condition("judge-a.b.worse") == NotWorse("judge-a.b.worse", "judge-a.b")


@pytest.mark.parametrize(
    "expression", ["", "accuracy", "accuracy=0.8", "<0.8", "accuracy<", "accuracy<high", "a<b<1", ".worse"]
)
def test_what_is_no_condition_is_named_in_the_error(expression: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_condition(expression)
    assert repr(expression) in str(caught.value)
    assert "worse" in str(caught.value)


def test_a_score_that_no_run_has_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(UsageError, match="accuracy, length, my score"):
        check_gate([parse_condition("acuracy<0.8")], [RUN], KNOWN)


def test_a_gate_on_what_is_worse_needs_a_score_to_look_at() -> None:
    bare = RunMeasures("bare", values={"error_rate": 0.0}, deltas={}, verdicts={}, unusable={})
    gate = check_gate([parse_condition("worse")], [bare], KNOWN)
    assert not gate.passed
    assert "no score" in gate.checks[0].message


def test_the_error_rate_has_no_verdict_and_the_error_says_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"error_rate\.delta>0"):
        check_gate([parse_condition("error_rate.worse")], [RUN], KNOWN)


def test_a_score_called_error_rate_has_a_verdict() -> None:
    run = RunMeasures("run", values={}, deltas={}, verdicts={"error_rate": "better"}, unusable={})
    assert check_gate([parse_condition("error_rate.worse")], [run], ["error_rate"]).passed


def test_a_gate_says_why_a_value_cannot_be_used() -> None:
    check = check_gate([parse_condition("length<3")], [RUN], KNOWN).checks[0]
    assert "no 0-1 or 0-10 scale" in check.message


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_clear_error(expression: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_condition(expression).expression == expression
