"""The difference of two runs, and what is said of it."""

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lfexp_mcp.statistics.paired import Conclusion, compare_pairs, conclude
from lfexp_mcp.statistics.resampling import bootstrap_interval, sign_flip_p
from lfexp_mcp.statistics.significance import Levels, holm


def _judged(pairs: list[tuple[float, float]], min_delta: float = 0.05) -> Conclusion:
    result = compare_pairs(pairs, 1.0)
    assert result is not None
    return conclude(result, min_delta)


def _mean(sample: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean(sample, axis=axis))


@pytest.mark.slow
@given(st.lists(st.integers(-10, 10).map(float), min_size=2, max_size=8))
def test_few_differences_are_permuted_exactly_as_scipy_does(differences: list[float]) -> None:
    from scipy.stats import permutation_test

    expected = permutation_test(
        (np.asarray(differences),),
        _mean,
        permutation_type="samples",
        n_resamples=1000,
    )
    assert sign_flip_p(differences) == pytest.approx(float(expected.pvalue), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("count", [400, 3_001])
def test_many_differences_are_permuted_close_to_the_normal_limit(count: int) -> None:
    rng = np.random.default_rng(5)
    differences = rng.normal(2 / count**0.5, 1, count)
    z = differences.sum() / math.sqrt(float((differences**2).sum()))
    limit = math.erfc(abs(z) / math.sqrt(2))
    assert sign_flip_p(list(differences)) == pytest.approx(limit, abs=0.015)
    assert sign_flip_p(list(differences[::-1])) == sign_flip_p(list(differences))


@pytest.mark.parametrize(("count", "shift"), [(17, 6.0), (40, 1.5), (100, 0.8), (100, 1.2), (300, 0.7)])
def test_a_small_p_is_that_of_all_assignments_of_signs(count: int, shift: float) -> None:
    steps = [int(value) for value in np.round(np.random.default_rng(1).normal(shift, 2, count))]
    chances = np.ones(1)
    for step in map(abs, steps):
        chances = np.convolve(chances, [0.5, *[0.0] * (2 * step - 1), 0.5]) if step else chances
    sums = np.arange(chances.size) - sum(map(abs, steps))
    exact = float(chances[np.abs(sums) >= abs(sum(steps))].sum())
    assert exact < 0.02
    assert sign_flip_p([step / 10 for step in steps]) == pytest.approx(exact, rel=0.06)


def test_a_small_p_of_many_values_is_close_to_the_normal_limit() -> None:
    differences = np.random.default_rng(2).normal(6.5 / 2_500**0.5, 1, 2_500)
    z = float(differences.sum()) / math.sqrt(float((differences**2).sum()))
    assert sign_flip_p(list(differences)) == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), rel=0.1)


def test_all_differences_of_one_sign_have_the_smallest_p_there_is() -> None:
    assert sign_flip_p([0.1] * 29 + [0.2]) == 2 / 2**30
    assert sign_flip_p([0.1] * 1_000) == pytest.approx(2.0**-999)


def test_signs_of_many_values_are_drawn_independently_of_each_other() -> None:
    large, small = [1000.0, 1001.0, 1002.0, 1003.0], np.linspace(-1e-3, -1e-4, 3_000).tolist()
    # As large as observed if the four large ones have one sign: they are neighbours, and the rest only adds to them.
    assert sign_flip_p([*large, *small]) == pytest.approx(2 / 2**4, abs=0.015)


@pytest.mark.slow
def test_many_values_without_a_difference_have_a_uniform_p() -> None:
    from scipy.stats import kstest

    rng = np.random.default_rng(8)
    found = [sign_flip_p(rng.standard_t(2, 2_050).tolist()) for _ in range(100)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_the_same_data_gives_the_same_answer() -> None:
    rng = np.random.default_rng(6)
    pairs = [(float(first), float(second)) for first, second in rng.random((60, 2))]
    assert compare_pairs(pairs, 1.0) == compare_pairs(pairs, 1.0)


def test_the_order_of_the_items_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    pairs = [(float(first), float(second)) for first, second in rng.integers(0, 11, (60, 2)) / 10]
    forward, backward = compare_pairs(pairs, 1.0), compare_pairs(pairs[::-1], 1.0)
    assert forward is not None
    assert backward is not None
    assert forward.p == backward.p
    assert forward.interval == backward.interval


def test_a_clear_gain_is_better_and_a_clear_loss_worse() -> None:
    assert _judged([(0.2, 0.8)] * 9 + [(0.5, 0.6)] * 3).verdict == "better"
    assert _judged([(0.8, 0.2)] * 9 + [(0.6, 0.5)] * 3).verdict == "worse"


def test_a_verdict_needs_the_adjusted_p() -> None:
    result = compare_pairs([(0.0, 1.0)] * 8 + [(1.0, 0.0)] * 1 + [(1.0, 1.0)] * 20, 1.0)
    assert result is not None
    assert result.p is not None
    assert conclude(result, 0.05).verdict == "better"
    conclusion = conclude(result, 0.05, Levels(rise=0.05 / 4))
    assert conclusion.verdict == "inconclusive"
    assert conclusion.p_adjusted == pytest.approx(4 * result.p)
    assert conclude(result, 0.05, Levels(fall=0.05 / 4)).verdict == "better"


def test_runs_are_equivalent_only_where_the_interval_excludes_a_difference_worth_seeing() -> None:
    assert _judged([(1.0, 1.0)] * 300).verdict == "equivalent"
    few = _judged([(1.0, 1.0)] * 20)
    assert few.verdict == "inconclusive"
    assert few.items_needed is not None
    assert few.items_needed > 20


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "min_delta", "expected"),
    [
        (6, 6, 188, 0.05, "equivalent"),
        (6, 6, 188, 0.02, "inconclusive"),
        (0, 0, 30, 0.05, "inconclusive"),
        (0, 0, 80, 0.05, "equivalent"),
        (0, 0, 80, 0.02, "inconclusive"),
        (90, 50, 1860, 0.05, "better"),
        (50, 90, 1860, 0.05, "worse"),
        (5, 0, 95, 0.01, "inconclusive"),
    ],
)
def test_no_difference_is_shown_by_what_is_excluded(
    wins: int, losses: int, ties: int, min_delta: float, expected: str
) -> None:
    result = compare_pairs([(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * ties, 1.0)
    assert result is not None
    found = conclude(result, min_delta)
    assert found.verdict == expected
    assert found.interval is not None
    assert found.equivalent_within == max(-found.interval.low, found.interval.high)
    assert found.interval.excludes_zero is (expected in ("better", "worse"))
    assert conclude(result, found.equivalent_within).verdict != "equivalent", "the margin lies outside the interval"
    assert conclude(result, found.equivalent_within + 1e-9).verdict in ("equivalent", "better", "worse")


def test_runs_equivalent_alone_may_not_be_so_beside_other_scores() -> None:
    result = compare_pairs([(0.5, 0.5)] * 80, 1.0)
    assert result is not None
    assert conclude(result, 0.05).verdict == "equivalent"
    assert conclude(result, 0.05, Levels(0.05 / 20, 0.05 / 20)).verdict == "inconclusive"


def test_few_items_on_an_open_scale_are_not_equivalent_for_want_of_what_is_rare() -> None:
    verdicts = []
    for n in (20, 200):
        pairs = [(100.0 + item % 50, 100.0 + item % 50 + (-1) ** item) for item in range(n)]
        result = compare_pairs(pairs, None)
        assert result is not None
        assert result.interval is not None
        assert result.interval.within(2.5)
        conclusion = conclude(result, 2.5)
        verdicts.append(conclusion.verdict)
    assert verdicts == ["inconclusive", "equivalent"]


def test_better_by_less_than_matters_says_so() -> None:
    rng = np.random.default_rng(9)
    small = _judged([(0.5, 0.5 + round(float(rng.normal(0.02, 0.02)), 2)) for _ in range(200)])
    assert (small.verdict, small.below_min_delta) == ("better", True)
    assert "smaller than 0.05" in small.reason
    large = _judged([(0.5, 0.5 + round(float(rng.normal(0.2, 0.02)), 2)) for _ in range(200)])
    assert (large.verdict, large.below_min_delta) == ("better", False)


def test_what_is_better_has_an_interval_above_zero_and_what_is_equivalent_one_within_the_margin() -> None:
    rng = np.random.default_rng(10)
    seen = set()
    for n in (8, 20, 80, 200):
        for shift in (0.0, 0.03, 0.1, 0.3):
            first = rng.integers(3, 7, n) / 10
            second = np.clip(np.round(first + rng.normal(shift, 0.08, n), 1), 0, 1)
            result = compare_pairs(list(zip(first.tolist(), second.tolist(), strict=True)), 1.0)
            assert result is not None
            assert result.interval is not None
            verdict = conclude(result, 0.05).verdict
            seen.add(verdict)
            assert result.interval.low > 0 or verdict != "better"
            assert (result.interval.low > -0.05 and result.interval.high < 0.05) or verdict != "equivalent"
    assert {"better", "equivalent", "inconclusive"} <= seen


def test_a_gain_that_rare_losses_could_undo_is_not_better_yet() -> None:
    few = _judged([(0.5, 0.55)] * 6 + [(0.5, 0.6)] * 6)
    assert few.verdict == "inconclusive"
    assert "rare" in few.reason
    assert few.items_needed is not None
    assert few.items_needed > 12
    assert _judged(([(0.5, 0.55)] * 6 + [(0.5, 0.6)] * 6) * 10).verdict == "better"


@pytest.mark.slow
def test_more_items_are_never_said_to_be_needed_than_would_do_nor_fewer_than_there_are() -> None:
    rng = np.random.default_rng(12)
    for _ in range(50):
        n, shift, spread = int(rng.integers(5, 200)), float(rng.normal(0, 0.05)), float(rng.uniform(0.02, 0.4))
        pairs = [(0.5, float(np.clip(round(0.5 + value, 1), 0, 1))) for value in rng.normal(shift, spread, n)]
        result = compare_pairs(pairs, 1.0)
        assert result is not None
        for tests in (1, 20):
            needed = conclude(result, 0.05, Levels(0.05 / tests, 0.05 / tests)).items_needed
            assert needed is None or needed > n


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([(0.2, 0.9)] * 4, "Only 4 pairs"),
        ([(0.2, 0.9)], "Only 1 pair"),
        ([(0.5, 0.5)] * 10, "tie"),
        ([(0.25, 0.25)] * 5, "tie"),
    ],
)
def test_too_little_to_judge_gets_a_plain_answer(pairs: list[tuple[float, float]], words: str) -> None:
    conclusion = _judged(pairs)
    assert conclusion.verdict == "inconclusive"
    assert words in conclusion.reason


def test_equal_differences_have_an_interval_that_shrinks_with_the_items() -> None:
    few, many = compare_pairs([(0.25, 0.5)] * 6, 1.0), compare_pairs([(0.25, 0.5)] * 60, 1.0)
    assert few is not None
    assert few.interval is not None
    assert many is not None
    assert many.interval is not None
    assert few.interval.low < many.interval.low < 0.25 < many.interval.high < few.interval.high


def test_nothing_in_common_is_no_result() -> None:
    assert compare_pairs([], 1.0) is None
    assert compare_pairs([(math.nan, 1.0)], 1.0) is None


@given(
    st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True)), max_size=12),
    st.sampled_from([1.0, None]),
)
@example([(0.0, 0.0)] * 4 + [(0.0, 1.2e-07)], 1.0)
def test_no_input_makes_a_library_complain(pairs: list[tuple[float, float]], width: float | None) -> None:
    bounded = [(first, second) for first, second in pairs if not (abs(first) > 1e6 or abs(second) > 1e6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare_pairs(bounded, width)
        if result is not None:
            conclude(result, 0.05)
            assert result.wins + result.losses + result.ties == result.pairs


def test_a_pair_that_is_not_finite_is_left_out() -> None:
    result = compare_pairs([(0.5, 0.75)] * 6 + [(math.nan, 1.0), (0.0, math.inf)], 1.0)
    assert result is not None
    assert result.pairs == 6


def test_the_bootstrap_is_never_narrower_than_student() -> None:
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(8)
    for size in (5, 12, 50):
        sample = list(rng.exponential(1, size))
        student = ttest_1samp(sample, 0).confidence_interval()
        interval = bootstrap_interval(sample)
        assert interval.low <= student.low + 1e-12
        assert interval.high >= student.high - 1e-12


@pytest.mark.slow
def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p_values = [0.01, 0.04, 0.03, 0.005, 0.9]
    adjusted = holm(p_values)
    assert adjusted == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    assert holm([None, 0.02, None, 0.04]) == [None, 0.04, None, 0.04]


def test_zeros_and_ones_without_a_scale_are_numbers_like_others() -> None:
    """Calls of a tool, say: that nobody made two of them does not make them pass or fail."""
    pairs = [(0.0, 1.0)] * 9 + [(1.0, 0.0)] * 2 + [(1.0, 1.0)] * 20
    found, shifted = compare_pairs(pairs, None), compare_pairs([(a + 3, b + 3) for a, b in pairs], None)
    assert found is not None
    assert shifted is not None
    assert (found.pass_fail, found.p) == (False, shifted.p)
    assert found.interval == pytest.approx(shifted.interval)
    all_alike = compare_pairs([(0.0, 0.0)] * 40, None)
    assert all_alike is not None
    assert all_alike.interval is None


@pytest.mark.parametrize("pairs", [[(1.0, 0.0)] * 5, [(1.0, 0.0)] * 40, [(0.0, 1.0)] * 6])
def test_runs_that_may_differ_by_the_whole_scale_are_equivalent_within_no_margin(
    pairs: list[tuple[float, float]],
) -> None:
    result = compare_pairs(pairs, 1.0)
    assert result is not None
    found = conclude(result, 0.05)
    assert found.equivalent_within is None
    assert "equivalent" not in found.reason
