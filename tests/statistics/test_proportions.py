"""Intervals and tests of passes and failures, against other implementations and published figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.statistics.proportions import MIN_MID_P_PAIRS, mcnemar_p, newcombe, tango, wilson

TABLES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n)).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.integers(0, pair[1] - pair[0]), st.just(pair[1]))
    )
)


@pytest.mark.slow
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_statsmodels(counts: tuple[int, int]) -> None:
    from statsmodels.stats.proportion import proportion_confint

    passes, n = counts
    interval = wilson(passes, n)
    low, high = proportion_confint(passes, n, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.slow
@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
)
def test_newcombe_is_that_of_statsmodels(first: tuple[int, int], other: tuple[int, int]) -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    interval = newcombe(*first, *other)
    low, high = confint_proportions_2indep(*first, *other, method="newcomb", compare="diff")
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


def test_tango_gives_the_published_interval() -> None:
    """Fagerland, Lydersen and Laake (2014), airway hyper-responsiveness before and after transplantation."""
    interval = tango(1, 7, 21)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.slow
@given(TABLES)
def test_tango_holds_its_estimate_and_turns_with_the_runs(table: tuple[int, int, int]) -> None:
    gained, lost, n = table
    interval, turned = tango(gained, lost, n), tango(lost, gained, n)
    assert -1 <= interval.low <= (gained - lost) / n <= interval.high <= 1
    assert (interval.low, interval.high) == pytest.approx((-turned.high, -turned.low), abs=1e-9)


@pytest.mark.slow
@given(TABLES)
def test_the_ends_of_tango_are_where_the_constrained_likelihood_puts_them(table: tuple[int, int, int]) -> None:
    """The score statistic, its nuisance parameter found by search and not by formula, is 1.96 at each end."""
    gained, lost, n = table
    interval = tango(gained, lost, n)
    for end, sign in ((interval.low, 1), (interval.high, -1)):
        if abs(end) < 1 - 1e-6:
            assert sign * _score_by_search(gained, lost, n, end) == pytest.approx(1.959964, abs=0.01)


def _score_by_search(gained: int, lost: int, n: int, delta: float) -> float:
    low, high = max(0.0, -delta), (1 - delta) / 2
    for _ in range(200):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        if _likelihood(gained, lost, n, first, delta) < _likelihood(gained, lost, n, second, delta):
            low = first
        else:
            high = second
    share = (low + high) / 2
    variance = (2 * share + delta - delta**2) / n
    return ((gained - lost) / n - delta) / math.sqrt(variance)


def _likelihood(gained: int, lost: int, n: int, share: float, delta: float) -> float:
    parts = ((gained, share + delta), (lost, share), (n - gained - lost, 1 - 2 * share - delta))
    if any(probability <= 0 for count, probability in parts if count):
        return -math.inf
    return sum(count * math.log(probability) for count, probability in parts if count)


@pytest.mark.slow
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_that_of_statsmodels(gained: int, lost: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    exact = float(mcnemar([[5, gained], [lost, 5]], exact=True).pvalue)
    p = mcnemar_p(gained, lost)
    if gained + lost < MIN_MID_P_PAIRS:
        assert p == pytest.approx(exact)
    else:
        assert exact - math.comb(gained + lost, gained) / 2 ** (gained + lost) <= p + 1e-12
        assert p <= exact


def test_mcnemar_gives_the_published_p_values() -> None:
    """Fagerland, Lydersen and Laake (2013): 1 and 7 discordant pairs, exact 0.070."""
    assert mcnemar_p(1, 7) == pytest.approx(0.0703, abs=5e-5)


def test_intervals_near_zero_and_one_are_neither_empty_nor_out_of_bounds() -> None:
    assert wilson(0, 10).low == 0
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert wilson(10, 10).high == 1
    assert tango(0, 0, 20).high == pytest.approx(0.161, abs=1e-3)
