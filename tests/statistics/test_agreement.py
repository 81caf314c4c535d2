"""Agreement, correlation and groups, against other implementations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.statistics.agreement import Weights, gwet_ac1, kappa, spearman
from lfexp_mcp.statistics.distribution import histogram, mean_interval, quantiles

RNG = np.random.default_rng(11)
RATINGS = [(int(first), int(min(4, max(0, first + step)))) for first, step in RNG.integers([0, -1], [5, 2], (80, 2))]


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("quadratic", "quadratic")])
def test_kappa_is_that_of_statsmodels_and_its_interval_as_wide_at_least(weights: Weights, theirs: str | None) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.zeros((5, 5))
    for first, second in RATINGS:
        table[first, second] += 1
    expected = cohens_kappa(table, wt=theirs)
    found = kappa(RATINGS, range(5), weights)
    assert found.value == pytest.approx(expected.kappa)
    assert found.interval is not None
    assert expected.kappa_low - 0.1 < found.interval.low <= expected.kappa_low + 1e-9
    assert min(1.0, expected.kappa_upp) - 1e-9 <= found.interval.high < expected.kappa_upp + 0.1


@pytest.mark.parametrize(("n", "least", "most"), [(5, -0.8, 0.3), (20, 0.3, 0.8), (200, 0.9, 0.99)])
def test_perfect_agreement_is_as_sure_as_there_are_pairs(n: int, least: float, most: float) -> None:
    pairs = [(item % 2 == 0, item % 2 == 0) for item in range(n)]
    steps = [(item % 5, item % 5) for item in range(n)]
    for found in (kappa(pairs, [False, True]), kappa(steps, range(5), "quadratic")):
        assert found.value == pytest.approx(1)
        assert found.interval is not None
        assert least < found.interval.low < most
        assert found.interval.high == pytest.approx(1)


def test_raters_who_only_ever_pass_have_no_kappa() -> None:
    found = kappa([(True, True)] * 20, [False, True])
    assert (found.value, found.interval) == (None, None)


def test_ac1_gives_the_published_figure_where_kappa_collapses() -> None:
    """Gwet, Kappa Statistic is not Satisfactory (2002): of 125, 118 pass twice, 5 and 2 once."""
    pairs = [(True, True)] * 118 + [(True, False)] * 5 + [(False, True)] * 2
    found = gwet_ac1(pairs)
    assert kappa(pairs, [False, True]).value == pytest.approx(-0.0234, abs=1e-4)
    assert found.value == pytest.approx(0.9408, abs=1e-4)
    assert 0.85 < found.low < 0.9 < 0.97 < found.high < 1


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_ac1_has_the_standard_error_of_the_jackknife_or_a_wider_interval(pairs: list[tuple[bool, bool]]) -> None:
    found = gwet_ac1(pairs)
    assert -1 <= found.low <= found.value <= found.high <= 1
    left_out = [gwet_ac1(pairs[:n] + pairs[n + 1 :]).value for n in range(len(pairs))]
    error = math.sqrt((len(pairs) - 1) * float(np.var(left_out)))
    width = min(found.value + 1.5 * error, 1) - max(found.value - 1.5 * error, -1)
    assert found.high - found.low >= width * (1 - 5 / len(pairs))


def test_raters_who_pass_everything_agree_by_ac1_as_surely_as_there_are_pairs() -> None:
    found = gwet_ac1([(True, True)] * 10)
    assert found.value == 1
    assert found.low == pytest.approx(0.72, abs=0.01)


def test_spearman_is_that_of_scipy() -> None:
    from scipy.stats import spearmanr

    pairs = [(float(first), float(second)) for first, second in RATINGS]
    found = spearman(pairs)
    assert found.value == pytest.approx(
        float(spearmanr([first for first, _ in pairs], [second for _, second in pairs]).statistic)
    )
    assert found.interval is not None
    assert found.value is not None
    assert found.interval.low < found.value < found.interval.high


@pytest.mark.parametrize("pairs", [[(1.0, 2.0)] * 30, [(1.0, 2.0), (2.0, 1.0)], []])
def test_constant_or_few_values_have_no_correlation(pairs: list[tuple[float, float]]) -> None:
    assert spearman(pairs).value is None


def test_repeats_that_are_alike_agree_as_surely_as_their_items() -> None:
    items = [*range(len(RATINGS))] * 4
    passes = [(first > 1, second > 1) for first, second in RATINGS]
    numbers = [(float(first), float(second)) for first, second in RATINGS]
    once, repeated = kappa(RATINGS, range(5), "quadratic"), kappa(RATINGS * 4, range(5), "quadratic", items)
    assert repeated.value == pytest.approx(once.value)
    assert repeated.interval == pytest.approx(once.interval, abs=0.005)
    assert gwet_ac1(passes * 4, items) == pytest.approx(gwet_ac1(passes), abs=0.005)
    assert spearman(numbers * 4, items=items).value == pytest.approx(spearman(numbers).value)
    assert spearman(numbers * 4, items=items).interval == pytest.approx(spearman(numbers).interval, abs=0.005)


def test_perfect_agreement_on_repeats_is_as_sure_as_there_are_items() -> None:
    pairs = [(item % 2 == 0, item % 2 == 0) for item in range(6)]
    items = [*range(6)] * 10
    assert kappa(pairs * 10, [False, True], items=items).interval == pytest.approx(
        kappa(pairs, [False, True]).interval, abs=1e-9
    )
    assert gwet_ac1(pairs * 10, items) == pytest.approx(gwet_ac1(pairs), abs=1e-9)


def test_repeats_that_differ_as_items_do_are_as_sure_as_so_many_items() -> None:
    pairs = [(True, True), (False, False), (True, False), (True, True), (False, False)] * 16
    # Each item has one pair of each kind, so that none agrees more than another.
    items = [place // 5 for place in range(80)]
    apart, together, alone = gwet_ac1(pairs), gwet_ac1(pairs, items), gwet_ac1(pairs[:15])
    assert together.high == pytest.approx(apart.high)
    # An item of another kind may be too rare to have been seen among 16.
    assert apart.low - 0.1 < together.low <= apart.low
    assert alone.low < together.low - 0.2
    numbers = [(float(first), float(second)) for first, second in RATINGS]
    shuffled = [place % 16 for place in range(80)]
    mixed, single = spearman(numbers, items=shuffled).interval, spearman(numbers).interval
    assert mixed == pytest.approx(single, abs=0.1)


def test_repeats_of_few_items_have_no_correlation() -> None:
    pairs = [(float(n), float(n % 7)) for n in range(40)]
    assert spearman(pairs, items=[n % 4 for n in range(40)]).value is None


def test_quantiles_are_those_of_numpy() -> None:
    sample = list(RNG.random(37))
    shares = [0, 0.05, 0.5, 0.95, 1]
    assert quantiles(sample, shares) == pytest.approx(np.quantile(sample, shares).tolist())
    assert quantiles([3.0], shares) == [3.0] * 5


def test_a_histogram_counts_every_value_once_and_in_its_bin() -> None:
    assert histogram([0.0, 0.3, 0.3, 0.7, 1.0], 0, 1) == [1, 0, 0, 2, 0, 0, 0, 1, 0, 1]
    assert histogram([tenth / 10 for tenth in range(11)], 0, 1) == [*[1] * 9, 2]
    assert histogram([2.0, 2.0], 2, 2) == [2]
    assert histogram([-1.0, 2.0], 0, 1, bins=2) == [1, 1]


def test_the_mean_of_passes_has_wilsons_interval() -> None:
    interval = mean_interval([1.0] * 20, 1.0)
    assert interval is not None
    assert interval.high == 1
    assert interval.low == pytest.approx(0.839, abs=1e-3)
    assert math.isclose(sum(histogram([0.1] * 9, 0, 1)), 9)


@pytest.mark.parametrize(
    "values", [[0.9, 1.0, 1.0, 1.0, 0.8, 1.0], [0.0, 0.1, 0.0, 0.0, 0.0], [0.3] * 9, [0.7], [0.1, 0.2]]
)
def test_the_interval_of_a_mean_on_a_scale_stays_on_it_and_has_a_width(values: list[float]) -> None:
    interval = mean_interval(values, 1.0)
    assert interval is not None
    assert 0 <= interval.low < sum(values) / len(values) < interval.high <= 1


def test_few_or_equal_numbers_without_a_scale_have_no_interval() -> None:
    assert mean_interval([], 1.0) is None
    assert mean_interval([3.0, 4.0], None) is None
    assert mean_interval([3.0] * 9, None) is None
    assert mean_interval([3.0, 4.0, 5.0, 9.0, 1.0], None) is not None


def test_zeros_and_ones_without_a_scale_have_the_interval_of_numbers() -> None:
    values = [0.0] * 7 + [1.0] * 5
    interval, shifted = mean_interval(values, None), mean_interval([value + 2 for value in values], None)
    assert interval is not None
    assert shifted is not None
    assert interval == pytest.approx((shifted.low - 2, shifted.high - 2))
    assert mean_interval([1.0] * 9, None) is None
    assert mean_interval([0.0, 1.0], None) is None
