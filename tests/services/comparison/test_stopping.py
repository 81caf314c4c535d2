"""What a stopping rule means for a comparison, on runs without a server."""

from dataclasses import replace

import pytest

from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.model import DatasetPart, ItemChoice, Look, RunPlan, RunStatus, ScriptMaker
from lfexp_mcp.services.comparison.candidates import Candidates
from lfexp_mcp.services.comparison.comparability import find_issues
from lfexp_mcp.services.comparison.gate_input import gate_input
from lfexp_mcp.services.comparison.run_metrics import describe_metrics
from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.comparison.score_comparison import compare_scores
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.sequential import decide, look_levels, place_in_order, take_look
from lfexp_mcp.statistics.significance import ALPHA
from tests.statistics.simulated import run_of
from tests.statistics.stopped import pass_fail, result_of, rule_of

ITEMS = 200
RULE = rule_of(ITEMS)


def runs(
    wins: int,
    losses: int,
    *,
    done: int = ITEMS,
    status: RunStatus = "completed",
    looks: tuple[Look, ...] = (),
) -> tuple[ScoredRun, ScoredRun]:
    """A baseline of all items, and a run of the first of them in the rule's order, with two scores that are alike."""
    pairs = pass_fail(wins, losses, ITEMS)
    order = sorted(range(ITEMS), key=lambda n: place_in_order(RULE.seed, f"item-{n:04}"))
    ordered = sorted(zip(order, pairs, strict=True))
    first, second = (
        run_of([{"accuracy": pair[place], "other": pair[place]} for _, pair in ordered], name=name)
        for place, name in enumerate(("base", "run"))
    )
    items = tuple(second.record.items[n] for n in sorted(order[:done]))
    plan = RunPlan(ITEMS, stopping=RULE)
    record = replace(second.record, items=items, status=status, looks=looks, total_items=ITEMS, plan=plan)
    return first, replace(second, record=record)


def compared(baseline: ScoredRun, run: ScoredRun) -> dict[str, ScoreComparison]:
    pair = pair_runs(baseline, run)
    found = compare_scores(pair, find_issues(pair), ["accuracy", "other"], None, None, Candidates(), {})
    return {one.score: one for one in found}


def stop_at(number: int, wins: int, losses: int) -> Look:
    look = take_look(RULE, number, pass_fail(wins, losses, RULE.sizes[number - 1]))
    assert look.verdict is not None
    return look


def test_a_stopped_run_has_the_verdict_of_its_look_and_other_scores_are_tested_at_its_level() -> None:
    look = stop_at(2, 0, 20)
    # Items that were running when the run stopped are no part of the verdict.
    found = compared(*runs(0, 20, done=105, status="stopped", looks=(look,)))
    accuracy, other = found["accuracy"], found["other"]
    assert (accuracy.verdict, accuracy.pairs, accuracy.losses, accuracy.newly_failing) == ("worse", 100, 20, 20)
    assert accuracy.interval == look.interval
    level = look_levels(RULE.sizes, ALPHA)[1]
    assert look.p is not None
    assert accuracy.p == accuracy.p_adjusted == pytest.approx(look.p * ALPHA / level)
    assert (other.verdict, other.pairs) == ("worse", 105)
    assert other.p_adjusted is not None
    assert "accuracy" in other.reason


def test_another_baseline_is_compared_at_the_level_of_the_look_without_its_verdict() -> None:
    baseline, run = runs(0, 20, done=105, status="stopped", looks=(stop_at(2, 0, 20),))
    other = replace(baseline, record=replace(baseline.record, run_name="older", experiment_ids=("older",)))
    found = compared(other, run)["accuracy"]
    assert found.pairs == 105
    plain = compared(other, replace(run, record=replace(run.record, plan=None, looks=())))["accuracy"]
    assert found.p is not None
    assert plain.p is not None
    assert found.p == pytest.approx(plain.p * ALPHA / look_levels(RULE.sizes, ALPHA)[1])


@pytest.mark.parametrize(("wins", "losses"), [(3, 12), (4, 14), (12, 3), (10, 10), (0, 6), (0, 5)])
def test_the_last_test_of_a_run_without_a_stop_is_at_the_level_of_the_last_look(wins: int, losses: int) -> None:
    found = compared(*runs(wins, losses))["accuracy"]
    assert found.verdict == decide(result_of(pass_fail(wins, losses, ITEMS)), RULE, 5) or "inconclusive"
    assert (found.p is not None and found.p < ALPHA) is (found.verdict in ("better", "worse"))


@pytest.mark.parametrize("status", ["running", "cancelled", "failed", "unknown"])
def test_between_two_looks_there_is_no_verdict(status: RunStatus) -> None:
    found = compared(*runs(0, 40, done=90, status=status))["accuracy"]
    assert (found.verdict, found.p, found.p_adjusted, found.interval) == ("inconclusive", None, None, None)


def test_the_verdict_of_a_stop_stands_with_all_items_beside_it() -> None:
    found = compared(*runs(18, 20, looks=(stop_at(2, 0, 20),)))
    assert (found["accuracy"].verdict, found["accuracy"].pairs) == ("worse", 100)
    assert "-0.0100" in found["accuracy"].reason
    assert (found["other"].verdict, found["other"].pairs) == ("inconclusive", ITEMS)


def test_a_score_that_another_judge_has_given_since_is_not_what_the_look_was_at() -> None:
    look = replace(stop_at(2, 0, 20), makers=(ScriptMaker(function="accuracy", sha256="0" * 64),))
    found = compared(*runs(18, 20, looks=(look,)))["accuracy"]
    assert (found.verdict, found.pairs) == ("inconclusive", ITEMS)


def test_a_futile_look_is_inconclusive_unless_its_interval_lies_within_min_delta() -> None:
    futile = stop_at(3, 12, 12)
    found = compared(*runs(12, 12, done=120, status="stopped", looks=(futile,)))["accuracy"]
    assert (found.verdict, found.margin) == ("inconclusive", RULE.min_delta)
    assert found.interval is not None
    assert not found.interval.within(RULE.min_delta)


def test_a_gate_says_of_a_stopped_run_over_a_part_what_the_part_is_and_how_much_of_it_there_is() -> None:
    first, second = runs(0, 20, done=100, status="stopped", looks=(stop_at(2, 0, 20),))
    plan = RunPlan(ITEMS, stopping=RULE, part=DatasetPart(ItemChoice(sample=ITEMS), of=400, digest="d"))
    second = replace(second, record=replace(second.record, plan=plan))
    part = gate_input(pair_runs(first, second), [], describe_metrics(second.record, [], {}, None)).part
    assert part is not None
    assert "200 of 400 items" in part
    assert "100 of 200 results" in part
