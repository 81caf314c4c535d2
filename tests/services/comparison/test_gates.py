"""Conditions under which a run fails."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import (
    UNIT,
    Category,
    EvaluatorFailure,
    ItemResult,
    JudgeMaker,
    RunRecord,
    RunStatus,
    Scale,
    Score,
)
from lfexp_mcp.scores.limits import Limit
from lfexp_mcp.services.comparison.conditions import NotWorse, Threshold, parse_condition
from lfexp_mcp.services.comparison.gate_input import GateInput, Measure
from lfexp_mcp.services.comparison.gates import check_gate
from lfexp_mcp.services.comparison.missing_data import (
    MissingData,
    missing_ended_pairs,
    missing_ends,
    missing_pairs,
    missing_scores,
)
from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_run

WHOLE = MissingData("items", 12)
TEN_SCALE = Scale(0, 10, lower_is_better=True)
RUN = GateInput(
    "new",
    "completed",
    "completed",
    {
        "accuracy": Measure(0.75, WHOLE, UNIT, None, -0.05, WHOLE, verdict="worse", verdict_alone="worse"),
        "my score": Measure(
            0.5, WHOLE, TEN_SCALE, missing_pairs=WHOLE, verdict="inconclusive", verdict_alone="inconclusive"
        ),
        "error_rate": Measure(0.2, WHOLE, UNIT, None, 0.1, WHOLE),
        "length": Measure(problem="its values fit no 0-1 or 0-10 scale."),
    },
)
ACCURACY, MY_SCORE = RUN.measures["accuracy"], RUN.measures["my score"]
EMPTY = GateInput("empty", "completed", "completed", {})
KNOWN = ["accuracy", "my score", "length"]


def _changed(measures: Mapping[str, Measure]) -> GateInput:
    return replace(RUN, measures={**RUN.measures, **measures})


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
        ("length<0.3", False),
        ("my score>4/10", False),
        ("my score>5/10", True),
        ("my score.delta<0", False),
    ],
)
def test_a_condition_fails_what_it_describes(expression: str, passed: bool) -> None:
    assert _passes(expression) is passed


def test_names_may_hold_dots_and_dashes() -> None:
    assert parse_condition("judge-a.b<1") == Threshold("judge-a.b<1", "judge-a.b", False, "<", Limit(1.0))
    assert parse_condition("judge-a.b.worse") == NotWorse("judge-a.b.worse", "judge-a.b")


@pytest.mark.parametrize(
    "expression", ["", "accuracy", "accuracy=0.8", "<0.8", "accuracy<", '"accuracy<0.8', "a<b<1", ".worse"]
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
    bare = replace(EMPTY, measures={"error_rate": Measure(value=0.0)})
    gate = check_gate([parse_condition("worse")], [bare], KNOWN)
    assert not gate.passed
    assert "no score" in gate.checks[0].message


def test_the_error_rate_has_no_verdict_and_the_error_says_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"error_rate\.delta>0"):
        check_gate([parse_condition("error_rate.worse")], [RUN], KNOWN)


def test_a_score_called_error_rate_has_a_verdict() -> None:
    run = replace(EMPTY, measures={"error_rate": Measure(missing_pairs=WHOLE, verdict_alone="better")})
    assert check_gate([parse_condition("error_rate.worse")], [run], ["error_rate"]).passed


def test_a_gate_that_names_a_score_tests_it_at_its_own_level_and_one_that_names_none_tests_all_together() -> None:
    run = _changed({"accuracy": replace(ACCURACY, verdict="inconclusive")})
    conditions = [parse_condition(text) for text in ("accuracy.worse", "worse")]
    assert [check.outcome for check in check_gate(conditions, [run], KNOWN).checks] == ["failed", "passed"]


def test_a_gate_says_why_a_value_cannot_be_used() -> None:
    check = check_gate([parse_condition("length<0.3")], [RUN], KNOWN).checks[0]
    assert "no 0-1 or 0-10 scale" in check.message


@pytest.mark.parametrize("status", ["running", "failed", "cancelled"])
@pytest.mark.parametrize("expression", ["accuracy<0.1", "error_rate>0.9", "my score.worse", "accuracy.delta<-0.9"])
def test_a_run_that_is_not_completed_passes_no_gate(expression: str, status: RunStatus) -> None:
    (check,) = check_gate([parse_condition(expression)], [replace(RUN, status=status)], KNOWN).checks
    assert check.outcome == "undecided"
    assert status in check.message


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("accuracy<0.1", "undecided"),
        ("accuracy.delta<-0.9", "undecided"),
        ("my score.worse", "undecided"),
        ("error_rate>0.9", "passed"),
    ],
)
def test_a_mean_over_few_of_the_items_decides_no_gate_but_the_error_rate_does(expression: str, outcome: str) -> None:
    lacking = MissingData("items", 1, failed=11)
    few = _changed(
        {
            "accuracy": replace(ACCURACY, missing=lacking, missing_pairs=lacking),
            "my score": replace(MY_SCORE, missing_pairs=lacking),
        }
    )
    (check,) = check_gate([parse_condition(expression)], [few], KNOWN).checks
    assert check.outcome == outcome
    assert ("1 of 12 items only (11 failed)" in check.message) is (outcome == "undecided")


def test_one_failed_item_of_two_hundred_blocks_no_gate() -> None:
    most = _changed({"accuracy": replace(ACCURACY, missing=MissingData("items", 199, failed=1))})
    (check,) = check_gate([parse_condition("accuracy<0.7")], [most], KNOWN).checks
    assert (check.outcome, check.value, check.unit) == ("passed", 0.75, "canonical 0-1")
    assert "199 of 200 items" in check.message


def test_nothing_is_worse_says_nothing_where_too_few_pairs_allow_a_verdict() -> None:
    few = replace(RUN, measures={"my score": replace(MY_SCORE, missing_pairs=MissingData("items", 1))})
    (check,) = check_gate([parse_condition("worse")], [few], KNOWN).checks
    assert check.outcome == "undecided"
    assert all(count in check.message for count in ("1 of 1", "5"))


def test_what_rounding_leaves_of_a_zero_trips_no_gate() -> None:
    alike = _changed(
        {"accuracy": replace(ACCURACY, delta=1.7e-13, value=0.8 - 1e-13), "my score": replace(MY_SCORE, delta=-1.7e-13)}
    )
    conditions = [parse_condition(text) for text in ("accuracy.delta>0", "my score.delta<0", "accuracy<0.8")]
    gate = check_gate(conditions, [alike], KNOWN)
    assert [check.outcome for check in gate.checks] == ["passed", "passed", "passed"]
    assert "delta 0 is not < 0" in gate.checks[1].message
    assert "; 0 on 0-10" in gate.checks[1].message


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("accuracy<95", "80%"),
        ("accuracy<8", "4/5"),
        ("length<1000", "4/5"),
        ("accuracy<4/5", "out of 1"),
        ("my score<11/10", "outside 0 to 10"),
        ("accuracy<-0.5", "80%"),
        ("accuracy<120%", "100%"),
        ("accuracy.delta<-2", "80%"),
        ("my score.delta<-11/10", "-2%"),
        ("error_rate>5", "80%"),
    ],
)
def test_a_limit_on_another_scale_or_that_no_value_can_reach_is_refused(expression: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        check_gate([parse_condition(expression)], [RUN], KNOWN)


def test_a_check_shows_its_value_on_the_scale_that_its_limit_is_on() -> None:
    conditions = [parse_condition(text) for text in ("my score>6/10", "my score<0.6", "error_rate>50%")]
    checks = check_gate(conditions, [_changed({"my score": replace(MY_SCORE, value=0.3)})], KNOWN).checks
    assert [(check.outcome, check.value, check.unit) for check in checks] == [
        ("failed", 7.0, "own scale 0-10, lower is better"),
        ("failed", 0.3, "canonical 0-1"),
        ("passed", 0.2, "share of items"),
    ]


@pytest.mark.parametrize(
    ("expression", "own"), [("my score>0.6", "7 on 0-10"), ("my score.delta>0.1", "-2 on 0-10"), ("accuracy<0.5", "")]
)
def test_a_canonical_check_of_a_score_of_which_more_is_worse_tells_its_own_value_too(expression: str, own: str) -> None:
    run = _changed({"my score": replace(MY_SCORE, value=0.3, delta=0.2)})
    (check,) = check_gate([parse_condition(expression)], [run], KNOWN).checks
    assert own in check.message
    assert ("lower is better" in check.message) is bool(own)


def test_a_check_for_worse_tells_the_difference_that_it_goes_by() -> None:
    (check,) = check_gate([parse_condition("accuracy.worse")], [RUN], KNOWN).checks
    assert "delta -0.0500" in check.message


def test_a_limit_that_fits_the_scale_of_one_run_alone_leaves_the_other_undecided() -> None:
    other = replace(_changed({"my score": replace(MY_SCORE, scale=Scale(1, 5))}), run="other")
    checks = check_gate([parse_condition("my score>6/10")], [RUN, other], KNOWN).checks
    assert [check.outcome for check in checks] == ["passed", "undecided"]
    assert "1-5" in checks[1].message


@pytest.mark.parametrize("expression", ["accuracy.delta<-0.9", "my score.worse", "worse", "error_rate.delta>0.9"])
def test_a_baseline_that_is_not_completed_decides_no_difference(expression: str) -> None:
    run = replace(RUN, baseline_status="cancelled")
    (check,) = check_gate([parse_condition(expression)], [run], KNOWN).checks
    assert check.outcome == "undecided"


def test_a_score_of_a_run_that_has_none_at_all_is_missing_and_not_misspelt() -> None:
    (check,) = check_gate([parse_condition("accuracy<0.8")], [EMPTY], []).checks
    assert check.outcome == "undecided"


def _item(number: int, *parts: Score | EvaluatorFailure) -> ItemResult:
    return ItemResult(
        f"i{number}",
        "succeeded",
        scores=tuple(part for part in parts if isinstance(part, Score)),
        unscored=tuple(part for part in parts if isinstance(part, EvaluatorFailure)),
    )


def _values(*items: ItemResult) -> ScoredRun:
    return interpret_run(RunRecord("d", "id", "run", ("e",), "completed", items, len(items)), {})


def test_what_failed_was_not_run_or_not_scored_is_lacking_and_what_was_left_out_is_not() -> None:
    given = Score("id", "accuracy", 1.0, "NUMERIC")
    run = _values(
        _item(0, given),
        _item(1, EvaluatorFailure("accuracy", "timed out")),
        _item(2, EvaluatorFailure("my_evaluator", "raised")),
        _item(3),
        ItemResult("i4", "failed"),
        ItemResult("i5", "pending"),
    )
    assert missing_scores(run, "accuracy") == MissingData("items", 1, failed=1, pending=1, unscored=2)
    assert missing_ends(run) == MissingData("items", 5, pending=1)
    whole = _values(*(_item(number, given) for number in range(6)))
    expected = MissingData("items", 1, failed=1, pending=1, unscored=2, one_sided=1)
    assert missing_pairs(pair_runs(whole, run), "accuracy") == expected
    assert missing_pairs(pair_runs(run, whole), "accuracy") == expected


def test_what_only_one_runs_evaluator_left_out_is_lacking_in_a_difference() -> None:
    given = Score("id", "accuracy", 1.0, "NUMERIC")
    whole, half = (_values(*(_item(at, *[given] * (at % step == 0)) for at in range(40))) for step in (1, 2))
    assert missing_scores(half, "accuracy") == MissingData("items", 20)
    coverage = missing_pairs(pair_runs(whole, half), "accuracy")
    assert coverage == MissingData("items", 20, one_sided=20)
    assert not coverage.is_tolerable
    assert missing_pairs(pair_runs(half, half), "accuracy") == MissingData("items", 20)


def test_items_that_only_one_run_has_leave_a_difference_without_a_value() -> None:
    small, large = (_values(*(_item(at, Score("id", "accuracy", 1.0, "NUMERIC")) for at in range(n))) for n in (5, 100))
    for coverage in (missing_pairs(pair_runs(large, small), "accuracy"), missing_ended_pairs(pair_runs(small, large))):
        assert coverage == MissingData("items", 5, unshared=95)
        assert not coverage.is_tolerable


def test_a_label_without_a_value_is_a_missing_value() -> None:
    scale = Scale(0, 1, kind="CATEGORICAL", categories=(Category("good", 1.0), Category("bad", 0.0)))
    maker = JudgeMaker("judge-tone", 1, "openai", "gpt-test", scale, "prompt config")

    def run_of_labels(*labels: str) -> ScoredRun:
        scores = [Score("id", "tone", label, "CATEGORICAL", maker=maker) for label in labels]
        return _values(*(_item(at, score) for at, score in enumerate(scores)))

    whole, part = run_of_labels(*["good"] * 10), run_of_labels(*["good"] * 7, *["so-so"] * 3)
    assert missing_scores(part, "tone") == MissingData("items", 7, unscored=3)
    assert missing_pairs(pair_runs(whole, part), "tone") == MissingData("items", 7, unscored=3)


def test_a_result_that_is_still_pending_leaves_a_run_a_part() -> None:
    assert not MissingData("items", 199, pending=1).is_tolerable
    assert MissingData("items", 199, failed=1).is_tolerable


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_clear_error(expression: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_condition(expression).expression == expression
