"""The items it takes to show a difference."""

import numpy as np
import pytest

from lfexp_mcp.statistics.paired import PairedResult, compare_pairs, conclude, items_to_show, paired_verdict
from lfexp_mcp.statistics.power import POWER, items_for_mean, items_for_pass_rate
from lfexp_mcp.statistics.proportions import mcnemar_p
from lfexp_mcp.statistics.resampling import sign_flip_p
from lfexp_mcp.statistics.significance import UNADJUSTED, Levels, holm_factors
from tests.statistics.simulated import EXACT

REPEATS = 1_500
TOLERANCE = 4 * (POWER * (1 - POWER) / REPEATS) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("delta", "deviation"), [(0.1, 0.3), (0.05, 0.2), (-0.02, 0.4), (0.5, 0.5)])
def test_the_items_for_a_mean_are_those_of_statsmodels(delta: float, deviation: float) -> None:
    from statsmodels.stats.power import TTestPower

    expected = TTestPower().solve_power(abs(delta) / deviation, power=POWER, alpha=0.05)
    assert items_for_mean(delta, deviation) == pytest.approx(float(np.ceil(expected)), abs=1)


@pytest.mark.parametrize(("delta", "share"), [(0.1, 0.2), (0.2, 0.3), (0.15, 0.15), (0.05, 0.1)])
def test_so_many_items_show_a_difference_of_pass_rates_as_often_as_said(delta: float, share: float) -> None:
    n = items_for_pass_rate(delta, share)
    rng = np.random.default_rng(21)
    counts = rng.multinomial(n, [(share + delta) / 2, (share - delta) / 2, 1 - share], size=REPEATS)
    cells, times = np.unique(counts[:, :2], axis=0, return_counts=True)
    shown = sum(
        int(count) for (gained, lost), count in zip(cells, times, strict=True) if mcnemar_p(gained, lost) < 0.05
    )
    assert shown / REPEATS == pytest.approx(POWER, abs=TOLERANCE + 0.01)


@pytest.mark.slow
def test_so_many_items_show_a_difference_of_means_as_often_as_said() -> None:
    n = items_for_mean(0.1, 0.2)
    rng = np.random.default_rng(22)
    shown = sum(sign_flip_p(list(rng.normal(0.1, 0.2, n))) < 0.05 for _ in range(200))
    assert shown / 200 == pytest.approx(POWER, abs=4 * (POWER * (1 - POWER) / 200) ** 0.5)


def test_small_differences_take_many_items_and_are_still_answered_at_once() -> None:
    assert items_for_mean(0.0001, 0.5) > 1_000_000
    assert items_for_pass_rate(0.0001, 0.5) > 1_000_000


def test_a_difference_larger_than_the_discordant_share_is_still_answered() -> None:
    assert 5 <= items_for_pass_rate(0.5, 0.0) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("tests", [1, 5, 210])
@pytest.mark.parametrize("name", EXACT)
def test_the_items_said_to_be_needed_show_the_difference_beside_other_scores(name: str, tests: int) -> None:
    rng, repeats = np.random.default_rng(23), 60
    pilot = _compared(EXACT[name])
    needed = conclude(pilot, 0.05, Levels(0.05 / tests, 0.05 / tests)).items_needed
    assert needed is not None
    shown = 0
    for _ in range(repeats):
        result = _compared(list(rng.choice(EXACT[name], needed)))
        factor = holm_factors([result.p, *rng.random(tests - 1)])[0]
        assert factor is not None
        shown += paired_verdict(result, 0.05, Levels(0.05 / factor, 0.05 / factor)) in ("better", "worse")
    assert shown / repeats >= POWER - 3 * (POWER * (1 - POWER) / repeats) ** 0.5


def _compared(differences: list[float]) -> PairedResult:
    result = compare_pairs([(max(0.0, -value), max(0.0, value)) for value in differences], 1.0)
    assert result is not None
    return result


@pytest.mark.parametrize("reach", [0.0, 0.5, 1.0])
def test_a_stricter_level_and_a_wider_scale_take_more_items(reach: float) -> None:
    needed = [items_for_mean(0.1, 0.3, alpha, lambda _: reach) for alpha in (0.05, 0.01, 0.0025)]
    assert needed == sorted(needed)
    assert needed[0] >= items_for_mean(0.1, 0.3)
    assert items_for_pass_rate(0.1, 0.3, 0.0025) > items_for_pass_rate(0.1, 0.3, 0.01) > items_for_pass_rate(0.1, 0.3)


@pytest.mark.parametrize("pair", [(0.3, 0.5), (0.3, 0.3)])
@pytest.mark.parametrize("for_others", [True, False])
def test_a_single_pair_of_numbers_does_not_tell_how_many_it_takes(pair: tuple[float, float], for_others: bool) -> None:
    result = compare_pairs([pair], 1.0)
    assert result is not None
    assert items_to_show(result, 0.1, UNADJUSTED, for_others=for_others) is None


@pytest.mark.parametrize("reach", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 1e-9])
def test_values_that_hardly_vary_take_no_more_items_than_those_that_do(reach: float, alpha: float) -> None:
    needed = [items_for_mean(0.05, 10.0**-digits, alpha, lambda _: reach) for digits in (3, 5, 7, 9, 12)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] >= 2
