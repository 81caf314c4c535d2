"""Warnings of what a run's scores cannot tell."""

from dataclasses import replace

import pytest

from lfexp_mcp.model import (
    Content,
    EvaluatorFailure,
    EvaluatorInfo,
    ItemResult,
    Provenance,
    RunRecord,
    Scale,
    Score,
    ScoreDataType,
    ScriptMaker,
)
from lfexp_mcp.scores.interpretation import interpret_scores
from lfexp_mcp.scores.warnings import gap_warnings

UNSCORED = ItemResult("i", "succeeded", unscored=(EvaluatorFailure("tone", "rate limit"),))


def run(*items: ItemResult) -> RunRecord:
    return RunRecord("d", "id", "run", ("e",), "completed", items, len(items))


def scored(value: float | bool, expected_output: str | None = None) -> ItemResult:
    kind: ScoreDataType = "BOOLEAN" if isinstance(value, bool) else "NUMERIC"
    scores = (Score("s", "exact", value, kind),)
    return ItemResult("i", "succeeded", scores=scores, content=Content(expected_output=expected_output))


def warnings(record: RunRecord) -> list[str]:
    return gap_warnings(record, interpret_scores(record, {}))


@pytest.mark.parametrize("result", [ItemResult("i", "succeeded"), UNSCORED], ids=["by nothing", "without success"])
def test_only_a_run_that_is_stored_can_be_resumed_to_score_it(result: ItemResult) -> None:
    (stored,) = warnings(run(result))
    (dry,) = warnings(replace(run(result), is_dry=True))
    assert stored.startswith(dry)
    assert ("resume" in stored, "resume" in dry) == (True, False)


def test_a_run_whose_scorers_were_not_asked_yet_is_not_said_to_have_none() -> None:
    assert warnings(run(ItemResult("i", "pending"))) == []
    known = replace(
        run(ItemResult("i", "succeeded")), provenance=Provenance(evaluators=(EvaluatorInfo("e", "script"),))
    )
    assert warnings(known) == []
    whole = replace(run(ItemResult("i", "succeeded")), run_scores=(Score("s", "f1", 1.0, "NUMERIC"),))
    assert warnings(whole) == []


def test_what_was_not_scored_is_told_with_the_most_common_reason() -> None:
    reasons = ["rate limit", "timed out", "rate limit"]
    items = [ItemResult("i", "succeeded", unscored=(EvaluatorFailure("tone", reason),)) for reason in reasons]
    (warning,) = warnings(run(*items, scored(1.0)))
    assert [part in warning for part in ("3 of 4", "'tone'", "(2): rate limit")] == [True] * 3


def test_zeros_without_expected_outputs_are_said_to_mean_nothing() -> None:
    (warning,) = warnings(run(scored(0.0), scored(False, expected_output="")))
    assert [part in warning for part in ("'exact'", "expected_output")] == [True] * 2


def test_a_live_runs_warning_names_where_productions_answer_is() -> None:
    item = replace(scored(0.0), content=Content(metadata={"production_output": "Paris"}))
    assert "`production_output`" in warnings(run(item))[0]


def test_zeros_beside_expected_outputs_or_other_values_are_results() -> None:
    assert warnings(run(scored(0.0), scored(0.0, expected_output="Paris"))) == []
    assert warnings(run(scored(0.0), scored(0.5))) == []


def test_a_zero_where_lower_is_better_or_in_a_unit_is_nothing_odd() -> None:
    toxic = ScriptMaker(
        "exact", "checks.py", "aa", Scale(0, 10, lower_is_better=True), "evaluator", lower_is_better=True
    )
    for maker in (toxic, ScriptMaker("exact", "checks.py", "aa", unit="retries")):
        item = scored(0.0)
        assert warnings(run(replace(item, scores=(replace(item.scores[0], maker=maker),)))) == []
