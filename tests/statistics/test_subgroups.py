"""Groups of items against the rest."""

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfexp_mcp.statistics.subgroups import compare_with_rest


def _distance(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(first.mean(axis=axis) - second.mean(axis=axis)))


@pytest.mark.parametrize("size", [5, 6, 9])
def test_groups_of_numbers_are_permuted_as_scipy_does(size: int) -> None:
    from scipy.stats import permutation_test

    values = np.round(np.random.default_rng(size).beta(4, 1, 14), 1)
    values[:size] -= 0.2
    exact = permutation_test((values[:size], values[size:]), _distance, n_resamples=100_000, alternative="greater")
    (found,) = compare_with_rest(values.tolist(), [range(size)], 1.0)
    assert found.p == pytest.approx(float(exact.pvalue), abs=0.015)
    assert abs(found.delta) == pytest.approx(float(exact.statistic))


def test_groups_of_passes_are_compared_exactly() -> None:
    from scipy.stats import fisher_exact

    values = [0.0] * 8 + [1.0] * 2 + [1.0] * 50
    (found,) = compare_with_rest(values, [range(10)], 1.0)
    assert found.p == pytest.approx(float(fisher_exact(np.array([[2, 8], [50, 0]])).pvalue))
    assert found.interval is not None
    assert found.interval.high < 0


def test_groups_that_are_each_constant_are_told_apart() -> None:
    (found,) = compare_with_rest([0.5] * 10 + [0.75] * 20, [range(10)], 1.0)
    assert found.p is not None
    assert found.p < 0.001
    assert found.interval is not None
    assert found.interval.low < found.delta < found.interval.high


@pytest.mark.parametrize("values", [[0.5] * 3 + [0.6] * 10, [0.5] * 20, [0.5] * 10 + [0.6] * 3])
def test_groups_too_small_or_without_spread_have_no_test(values: list[float]) -> None:
    (found,) = compare_with_rest(values, [range(3 if len(values) == 13 and values[3] > 0.5 else 10)], 1.0)
    assert (found.p, found.interval) == (None, None)


def test_many_tests_get_p_values_small_enough_to_tell() -> None:
    values = [0.1 * (place % 3) for place in range(40)] + [0.9] * 10
    few, many = (compare_with_rest(values, [range(40, 50)], 1.0, tests)[0] for tests in (1, 400))
    assert few.p == 1e-4
    assert many.p is not None
    assert many.p * 400 < 0.05


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), min_size=2, max_size=20),
    st.integers(1, 19),
    st.booleans(),
)
def test_no_input_makes_a_library_complain(values: list[float], size: int, bounded: bool) -> None:
    group = range(min(size, len(values) - 1))
    given_values = [min(max(value, 0.0), 1.0) for value in values] if bounded else values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = compare_with_rest(given_values, [group], 1.0 if bounded else None)
    if found.interval is not None:
        assert found.interval.low <= found.delta + 1e-6
        assert found.delta <= found.interval.high + 1e-6
    assert found.p is None or 0 < found.p <= 1


def test_zeros_and_ones_without_a_scale_are_numbers_like_others() -> None:
    values = [float(n % 3 == 0) for n in range(12)] + [float(n % 5 > 0) for n in range(30)]
    found, shifted = (
        compare_with_rest([value + shift for value in values], [range(12)], None)[0] for shift in (0.0, 3.0)
    )
    assert found.p == pytest.approx(shifted.p)
    assert found.interval == pytest.approx(shifted.interval)
