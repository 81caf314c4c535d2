"""What is said of labels: corrected means, rates of a judge, and why nothing is corrected."""

import numpy as np
import pytest

from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.services.comparison.score_comparison import label_steps
from lfexp_mcp.services.labels.correction import describe_corrected_delta, describe_corrected_mean
from lfexp_mcp.statistics.labelled_sample import DrawnResult
from tests.services.labels.simulated import labels_with
from tests.statistics.simulated import run_of


def _results(counts: dict[tuple[float | None, float | None], int], stratum: int = 0) -> list[DrawnResult]:
    """Results by (judge, people), None for people where there is no label."""
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    return [DrawnResult(f"{stratum}-{n}", 1, judge, stratum, human) for n, (judge, human) in enumerate(pairs)]


def _mean(results: list[DrawnResult], half_width: float = 0.05) -> Corrected:
    return describe_corrected_mean(labels_with(results), half_width)


def test_rates_of_a_stratified_draw_are_those_of_the_run() -> None:
    """Of 450 results that the judge passes, people pass 20 of 25; of 50 that it fails, 5 of 25."""
    found = _mean(
        [
            *_results({(0.0, 1.0): 5, (0.0, 0.0): 20, (0.0, None): 25}),
            *_results({(1.0, 1.0): 20, (1.0, 0.0): 5, (1.0, None): 425}, 1),
        ]
    )
    assert found.estimate is not None
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.estimate.value == pytest.approx(0.74)
    assert found.sensitivity.value == pytest.approx(0.72 / 0.74)
    assert found.specificity.value == pytest.approx(0.08 / 0.26)
    assert 0 < found.specificity.low < 0.31 < found.specificity.high < 1


def test_without_a_failing_label_the_specificity_is_unknown() -> None:
    found = _mean(_results({(1.0, 1.0): 45, (0.0, 1.0): 5, (1.0, None): 405, (0.0, None): 45}))
    assert found.specificity is None
    assert found.estimate is not None
    assert found.estimate.low == pytest.approx(0.93, abs=0.01)
    assert found.estimate.value == found.estimate.high == 1


@pytest.mark.parametrize("labels", [0, 1, 2, 9])
def test_few_labels_give_no_number(labels: int) -> None:
    found = _mean(_results({(1.0, 1.0): labels, (1.0, None): 100}))
    assert (found.estimate, found.labels, found.sensitivity, found.labels_needed) == (None, labels, None, None)


def test_a_stratum_without_labels_leaves_the_mean_open() -> None:
    results = [*_results({(1.0, 1.0): 40, (1.0, None): 40}, 1), *_results({(0.0, None): 3})]
    assert _mean(results).estimate is None


def test_void_labels_say_why() -> None:
    found = describe_corrected_mean(labels_with(_results({(1.0, None): 60}), void="The judge is another one."), 0.05)
    assert (found.estimate, found.labels) == (None, 0)
    assert "The judge is another one." in found.summary


def test_labels_needed_are_said_where_they_are_needed() -> None:
    run = _results({(1.0, 1.0): 40, (1.0, 0.0): 10, (1.0, None): 315, (0.0, 0.0): 25, (0.0, 1.0): 5, (0.0, None): 105})
    found = _mean(run)
    assert found.labels_needed is not None
    assert 80 < found.labels_needed <= 500
    assert str(found.labels_needed) in found.summary
    assert _mean(run, 0.2).labels_needed is None
    unreachable = _mean(run, 0.01)
    assert unreachable.labels_needed is None
    assert "more items" in unreachable.summary


def test_a_judge_that_rates_against_people_is_named() -> None:
    upside_down = _mean(_results({(0.0, 1.0): 40, (1.0, 0.0): 30, (0.0, None): 100, (1.0, None): 90}))
    assert "against people" in upside_down.summary
    assert "against people" not in _mean(_results({(1.0, 1.0): 40, (0.0, 0.0): 30, (0.0, None): 100})).summary


def test_a_judge_rate_below_its_false_alarms_gives_no_rate_below_zero() -> None:
    """The judge passes 10%, though it passed 20% of what people failed among the labelled ones."""
    found = _mean(_results({(1.0, 0.0): 10, (0.0, 0.0): 40, (1.0, None): 40, (0.0, None): 410}))
    assert found.estimate is not None
    assert 0 == found.estimate.value <= found.estimate.low < found.estimate.high < 0.1


def test_labels_of_results_that_were_not_drawn_are_mentioned() -> None:
    results = _results({(1.0, 1.0): 20, (0.0, 0.0): 20, (1.0, None): 60})
    assert "14 labels" in describe_corrected_mean(labels_with(results, volunteered=14), 0.05).summary


def test_a_delta_is_of_the_items_that_both_runs_have() -> None:
    rng = np.random.default_rng(3)
    people = (rng.random(200) < 0.7) * 1.0
    first = [
        DrawnResult(f"{n}", 1, float(value), 0, float(value) if n < 60 else None) for n, value in enumerate(people)
    ]
    # The second run has 100 further items, which people fail.
    second = [*first, *(DrawnResult(f"more {n}", 1, 1.0, 0, 0.0 if n < 60 else None) for n in range(100))]
    labels, shared = (labels_with(first), labels_with(second)), {result.item_id for result in first}
    found = describe_corrected_delta(labels, ("a", "b"), shared, 0.05)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0, abs=1e-9)
    assert found.estimate.low <= 0 <= found.estimate.high
    none = describe_corrected_delta((labels_with(_results({(1.0, None): 60})), labels[1]), ("a", "b"), shared, 0.05)
    assert none.estimate is None
    assert "'a'" in none.summary


@pytest.mark.parametrize(("values", "proposed"), [([0.5, 1.0], ["other"]), ([300.0, 400.0], [])])
def test_people_are_asked_only_for_scores_with_a_scale(values: list[float], proposed: list[str]) -> None:
    labelled = labels_with(_results({(1.0, 1.0): 20}))
    runs = [run_of([{"tone": 1.0}]), run_of([{"tone": value} for value in values], name="other")]
    steps = label_steps("d", runs, [{"tone": labelled}, {}])
    assert [step.arguments["run_name"] for step in steps] == proposed
