"""What verdicts and intervals promise, held to it by simulated runs."""

import numpy as np
import numpy.typing as npt
import pytest

from lfexp_mcp.services.analysis.distributions import SHOWN_TO_DIFFER, slice_run
from lfexp_mcp.statistics.distribution import bounded_mean_interval
from lfexp_mcp.statistics.paired import compare_pairs, conclude, paired_verdict
from lfexp_mcp.statistics.proportions import tango, wilson
from lfexp_mcp.statistics.resampling import bootstrap_interval
from lfexp_mcp.statistics.significance import Levels
from tests.services.labels.simulated import Population, cover_delta, cover_mean, passes, tenths
from tests.statistics.simulated import RARE, Sampler, noisy_run, rare_drops, skewed, truth_of, u_shaped

pytestmark = pytest.mark.slow

COMPARISONS = 800


def _passes(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    difficulty = rng.beta(2, 1, (n, 1))
    return np.asarray(rng.random((n, 2)) < difficulty, dtype=np.float64)


def _tenths(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    difficulty = rng.beta(4, 2, (n, 1))
    return np.asarray(np.round(np.clip(difficulty + rng.normal(0, 0.15, (n, 2)), 0, 1), 1), dtype=np.float64)


def _mostly_equal(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    base = np.ones((n, 2))
    changed = rng.random((n, 2)) < 0.1
    return np.where(changed, 0.5, base)


@pytest.mark.parametrize("sampler", [_passes, _tenths, _mostly_equal])
def test_equal_runs_are_called_better_or_worse_in_at_most_one_of_twenty(sampler: Sampler) -> None:
    rng = np.random.default_rng(31)
    sizes = rng.choice([5, 8, 15, 30, 60], COMPARISONS)
    wrong = 0
    for n in sizes:
        result = compare_pairs([(float(first), float(second)) for first, second in sampler(rng, int(n))], 1.0)
        assert result is not None
        wrong += paired_verdict(result, 0.05) in ("better", "worse")
    sampling_error = 3 * (0.05 * 0.95 / COMPARISONS) ** 0.5
    assert wrong / COMPARISONS <= 0.05 + sampling_error


@pytest.mark.parametrize("n", [6, 15, 40])
def test_intervals_of_means_cover_at_their_rate(n: int) -> None:
    rng = np.random.default_rng(32)
    truth = float(np.diff(_shifted(rng, 400_000), axis=1).mean())
    covered, repeats = 0, 250
    for _ in range(repeats):
        interval = bootstrap_interval(list(np.round(np.diff(_shifted(rng, n), axis=1)[:, 0], 1)))
        covered += interval.low <= truth <= interval.high
    assert covered / repeats >= 0.95 - 3 * (0.05 * 0.95 / repeats) ** 0.5


def _shifted(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return np.column_stack([np.round(rng.beta(4, 2, n), 1), np.round(rng.beta(6, 1.5, n), 1)])


@pytest.mark.parametrize(("n", "gain", "loss"), [(12, 0.1, 0.05), (30, 0.3, 0.1), (100, 0.02, 0.01), (400, 0.1, 0.1)])
def test_intervals_of_paired_pass_rates_cover_at_their_rate(n: int, gain: float, loss: float) -> None:
    rng = np.random.default_rng(33)
    counts = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=20_000)
    cells, times = np.unique(counts[:, :2], axis=0, return_counts=True)
    covered = 0
    for (gained, lost), count in zip(cells, times, strict=True):
        interval = tango(int(gained), int(lost), n)
        covered += int(count) * (interval.low <= gain - loss <= interval.high)
    assert covered / 20_000 >= 0.935


@pytest.mark.parametrize(("n", "share"), [(8, 0.9), (20, 0.5), (50, 0.97), (1000, 0.2)])
def test_intervals_of_pass_rates_cover_at_their_rate(n: int, share: float) -> None:
    passes = np.random.default_rng(34).binomial(n, share, 20_000)
    cells, times = np.unique(passes, return_counts=True)
    covered = sum(
        int(count) * (wilson(int(cell), n).low <= share <= wilson(int(cell), n).high)
        for cell, count in zip(cells, times, strict=True)
    )
    assert covered / 20_000 >= 0.935


@pytest.mark.parametrize(("sampler", "n"), [(skewed, 60), (skewed, 150), (u_shaped, 60)])
def test_slices_of_noise_are_called_better_or_worse_in_at_most_one_analysis_of_twenty(sampler: Sampler, n: int) -> None:
    rng, analyses = np.random.default_rng(35), 60
    wrong = sum(
        any(one.verdict in SHOWN_TO_DIFFER for one in slice_run(noisy_run(rng, sampler, n), ["quality"]))
        for _ in range(analyses)
    )
    assert wrong / analyses <= 0.05 + 3 * (0.05 * 0.95 / analyses) ** 0.5


@pytest.mark.parametrize("n", [10, 15, 20])
def test_rare_large_drops_are_within_the_interval_and_never_called_equivalent(n: int) -> None:
    rng, repeats = np.random.default_rng(36), 150
    truth, covered, equivalent = truth_of(rare_drops), 0, 0
    assert truth == pytest.approx(-0.06, abs=0.002)
    for _ in range(repeats):
        result = compare_pairs([(0.9, 0.9 + float(value)) for value in rare_drops(rng, n)], 1.0)
        assert result is not None
        assert result.interval is not None
        covered += result.interval.low <= truth <= result.interval.high
        equivalent += paired_verdict(result, 0.05) == "equivalent"
    assert covered / repeats >= 0.95
    assert equivalent == 0


@pytest.mark.parametrize("sampler", RARE)
def test_the_margin_that_is_shown_holds_the_truth_at_its_rate(sampler: Sampler) -> None:
    rng, repeats, held = np.random.default_rng(38), 120, 0
    truth, levels = abs(truth_of(sampler)), Levels(rise=0.05 / 6)
    for _ in range(repeats):
        result = compare_pairs([(0.9, 0.9 + float(value)) for value in sampler(rng, 25)], 1.0)
        assert result is not None
        within = conclude(result, 0.05, levels).equivalent_within
        assert within is not None
        held += truth < within
    assert held / repeats >= 0.95 - 3 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize("sampler", RARE)
@pytest.mark.parametrize("n", [6, 30])
def test_intervals_of_bounded_means_cover_at_their_rate(sampler: Sampler, n: int) -> None:
    rng, repeats = np.random.default_rng(37), 120
    truth, covered = truth_of(sampler), 0
    for _ in range(repeats):
        interval = bounded_mean_interval(sampler(rng, n).tolist(), -1.0, 1.0)
        assert -1 <= interval.low <= interval.high <= 1
        covered += interval.low <= truth <= interval.high
    assert covered / repeats >= 0.95 - 3 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize(
    ("population", "width", "runs"),
    [
        (passes(0.7, 0.85, 0.6), 0.95, 150),
        (passes(0.95, 0.95, 0.85), 0.8, 150),
        (passes(0.8, 0.7, 0.0), 1.04, 150),
        (tenths(0.7, 0.12), 0.75, 50),
    ],
)
def test_corrected_means_hold_the_truth_and_are_no_wider_than_the_labels_alone(
    population: Population, width: float, runs: int
) -> None:
    found = cover_mean(population, 50, runs)
    assert found.held >= 0.94 - 3 * (0.06 * 0.94 / runs) ** 0.5
    assert found.width <= width


def test_corrected_deltas_hold_the_truth() -> None:
    runs = 100
    held = cover_delta(passes(0.7, 0.6, 0.65), passes(0.8, 0.9, 0.5), 50, runs)
    assert held >= 0.94 - 3 * (0.06 * 0.94 / runs) ** 0.5
