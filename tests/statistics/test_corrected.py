"""Means corrected by labels, against other implementations, and in cases that are easily got wrong.

The recorded figures are those of ppi-python 0.2.3, with `y` the labels, `f` the judge's values beside them and `u` its
values of the other results:

    lam = numpy.cov(y, f)[0, 1] / numpy.var(f, ddof=1) * u.size / (u.size + f.size)
    ppi_py.ppi_mean_pointestimate(y, f, u, lam=lam)
    ppi_py.ppi_mean_ci(y, f, u, alpha=0.05, lam=lam)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from lfexp_mcp.statistics.corrected import MIN_LABELS, CorrectedMean, correct_delta, correct_mean
from lfexp_mcp.statistics.distribution import mean_interval
from lfexp_mcp.statistics.labelled_sample import DrawnResult
from lfexp_mcp.statistics.proportions import weighted_share, wilson

Floats = npt.NDArray[np.float64]


def result(item_id: str, judge: float | None, human: float | None = None, stratum: int = 0) -> DrawnResult:
    return DrawnResult(item_id, 0, judge, stratum, human)


def results_of(
    labelled: Sequence[tuple[float | None, float]], unlabelled: Sequence[float | None], stratum: int = 0, run: str = ""
) -> list[DrawnResult]:
    """Results with (judge, human), and those with the judge's value alone."""
    both = [*((judge, human) for judge, human in labelled), *((judge, None) for judge in unlabelled)]
    return [result(f"{run}{stratum}-{n}", judge, human, stratum) for n, (judge, human) in enumerate(both)]


def corrected(results: Sequence[DrawnResult]) -> CorrectedMean:
    found = correct_mean(results)
    assert found is not None
    return found


def patterned(n: int, others: int) -> tuple[Floats, Floats, Floats]:
    """Labels, the judge's values of the labelled results, and of the others."""
    i, j = np.arange(n), np.arange(others)
    human = np.asarray(((7 * i) % 11) / 10, dtype=np.float64)
    judge = np.asarray(np.clip(human + ((5 * i) % 7 - 3) / 20, 0, 1), dtype=np.float64)
    rest = np.asarray(((3 * j + 4) % 10) / 10, dtype=np.float64)
    return human, judge, rest


def passed(human: Floats, judge: Floats, others: Floats) -> tuple[Floats, Floats, Floats]:
    return (human >= 0.5) * np.float64(1), (judge >= 0.4) * np.float64(1), (others >= 0.4) * np.float64(1)


PPI_NUMBERS = (0.46179818, 0.4562192, 0.46737715)
PPI_PASSES = (0.53850822, 0.52640933, 0.55060711)
"""Mean and interval of 3,000 labels among 15,000 results."""


@pytest.mark.parametrize(
    ("values", "theirs"), [(patterned(30, 120), 0.46163181), (passed(*patterned(30, 120)), 0.61619048)]
)
def test_the_corrected_mean_is_that_of_prediction_powered_inference(
    values: tuple[Floats, Floats, Floats], theirs: float
) -> None:
    human, judge, others = values
    found = corrected(results_of(list(zip(judge.tolist(), human.tolist(), strict=True)), others.tolist()))
    assert found.mean == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "theirs"), [(patterned(3000, 12000), PPI_NUMBERS), (passed(*patterned(3000, 12000)), PPI_PASSES)]
)
def test_of_many_labels_the_interval_is_that_of_prediction_powered_inference(
    values: tuple[Floats, Floats, Floats], theirs: tuple[float, float, float]
) -> None:
    human, judge, others = values
    found = corrected(results_of(list(zip(judge.tolist(), human.tolist(), strict=True)), others.tolist()))
    assert found.mean == pytest.approx(theirs[0], abs=1e-6)
    width = theirs[2] - theirs[1]
    # Neither a few imagined judge errors nor Student's t matters any more.
    assert found.interval == pytest.approx(theirs[1:], abs=0.03 * width)


@pytest.mark.slow
def test_the_corrected_mean_is_what_a_regression_expects_at_the_mean_of_the_judge() -> None:
    import statsmodels.api as sm

    human, judge, others = patterned(40, 160)
    found = corrected(results_of(list(zip(judge.tolist(), human.tolist(), strict=True)), others.tolist()))
    fit = sm.OLS(human, sm.add_constant(judge)).fit()
    assert found.mean == pytest.approx(fit.params @ [1, np.concatenate([judge, others]).mean()], abs=1e-12)


def test_a_draw_by_strata_weighs_each_by_its_size() -> None:
    """450 of 500 passed by the judge, 25 labelled of each kind: people pass 20 of the one and 5 of the other."""
    results = [
        *results_of([(0.0, 1.0)] * 5 + [(0.0, 0.0)] * 20, [0.0] * 25, 0),
        *results_of([(1.0, 1.0)] * 20 + [(1.0, 0.0)] * 5, [1.0] * 425, 1),
    ]
    found = corrected(results)
    assert found.mean == pytest.approx(0.9 * 0.8 + 0.1 * 0.2)
    assert found.interval.low < 0.6 < 0.85 < found.interval.high


@pytest.mark.parametrize("human", [0.0, 1.0, 0.9])
def test_equal_labels_of_a_judge_that_tells_nothing_are_as_sure_as_they_are_alone(human: float) -> None:
    found = corrected(results_of([(0.8, human)] * 50, [0.8] * 450))
    alone = mean_interval([human] * 50, 1.0)
    assert alone is not None
    assert found.mean == pytest.approx(human)
    assert found.interval == pytest.approx(alone, abs=0.006)


@pytest.mark.parametrize("passes", [0, 1, 30, 48, 50])
def test_without_a_use_of_the_judge_the_interval_is_about_jeffreys_of_the_labels_with_one_more_of_each(
    passes: int,
) -> None:
    from scipy.stats import beta

    found = corrected(results_of([(None, 1.0)] * passes + [(None, 0.0)] * (50 - passes), [None] * 200))
    low, high = beta.interval(0.95, passes + 1, 51 - passes)
    assert found.mean == pytest.approx(passes / 50)
    assert found.interval == pytest.approx((min(low, found.mean), max(high, found.mean)), abs=0.006)


def test_the_interval_is_that_of_the_posterior_of_a_proportion_for_each_verdict_of_the_judge() -> None:
    found = corrected(
        results_of(
            [(1.0, 1.0)] * 80 + [(1.0, 0.0)] * 4 + [(0.0, 0.0)] * 14 + [(0.0, 1.0)] * 2, [1.0] * 330 + [0.0] * 70
        )
    )
    rng = np.random.default_rng(3)
    judged = rng.beta(414.5, 86.5, 400_000)
    means = judged * rng.beta(80.5, 4.5, 400_000) + (1 - judged) * rng.beta(2.5, 14.5, 400_000)
    assert found.interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.003)


def test_a_biased_judge_is_corrected_and_one_that_agrees_narrows() -> None:
    lenient = corrected(results_of([(1.0, 1.0)] * 35 + [(1.0, 0.0)] * 10 + [(0.0, 0.0)] * 5, [1.0] * 405 + [0.0] * 45))
    assert lenient.mean == pytest.approx(0.7)
    good = corrected(results_of([(1.0, 1.0)] * 35 + [(0.0, 0.0)] * 15, [1.0] * 315 + [0.0] * 135))
    alone = wilson(35, 50)
    assert good.interval.high - good.interval.low < 0.65 * (alone.high - alone.low)


def test_a_judge_that_rates_against_people_still_tells() -> None:
    found = corrected(results_of([(0.0, 1.0)] * 28 + [(1.0, 0.0)] * 22, [0.0] * 300 + [1.0] * 150))
    assert found.mean == pytest.approx(328 / 500)
    assert found.interval.low > 0.55


def test_a_mean_that_would_lie_beyond_the_scale_is_its_end_with_an_interval() -> None:
    found = corrected(results_of([(0.5 + n / 100, 0.6 + n / 50) for n in range(20)], [0.95] * 400))
    assert found.mean == 1.0
    assert found.interval.low < 1.0
    assert found.interval.high == 1.0


def test_all_results_labelled_leave_the_mean_of_the_labels() -> None:
    found = corrected(results_of([(1.0, 1.0)] * 300 + [(0.0, 1.0)] * 100 + [(1.0, 0.0)] * 100, []))
    assert found.mean == pytest.approx(0.8)
    assert found.interval == pytest.approx(wilson(400, 500), abs=1e-3)


def test_results_that_the_judge_did_not_score_count_as_its_average() -> None:
    scored = results_of([(1.0, 1.0)] * 20 + [(0.0, 0.0)] * 20, [1.0] * 200 + [0.0] * 200)
    with_gaps = [*scored, *results_of([(None, 0.0)] * 5, [None] * 45, run="gap")]
    # Five labels of zero among 45 stand for the judge's gaps as for all others.
    assert corrected(with_gaps).mean == pytest.approx(20 / 45, abs=0.01)
    assert corrected(scored).mean == pytest.approx(0.5)


def test_repeats_of_an_item_are_no_further_items() -> None:
    once = results_of([(1.0, 1.0)] * 30 + [(0.0, 0.0)] * 5 + [(1.0, 0.0)] * 10, [1.0] * 150 + [0.0] * 30)
    alone, repeated = corrected(once), corrected([*once, *once, *once])
    assert repeated.mean == pytest.approx(alone.mean)
    width = alone.interval.high - alone.interval.low
    assert repeated.interval.high - repeated.interval.low == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize(
    "results",
    [
        [],
        results_of([], [1.0] * 50),
        results_of([(1.0, 1.0)] * (MIN_LABELS - 1), [1.0] * 50),
        [*results_of([(1.0, 1.0)] * 40, [1.0] * 400, 1), *results_of([], [0.0] * 20, 0)],
        [*results_of([(1.0, 1.0)] * 40, [1.0] * 400, 1), *results_of([(0.0, 1.0)], [0.0] * 20, 0)],
    ],
    ids=["nothing", "no label", "too few labels", "none of a stratum", "one of a stratum"],
)
def test_too_few_labels_correct_nothing(results: list[DrawnResult]) -> None:
    assert correct_mean(results) is None


def test_few_labels_stand_alone() -> None:
    found = corrected(results_of([(1.0, 1.0)] * 8 + [(0.0, 0.0)] * 4, [1.0] * 400))
    assert found.mean == pytest.approx(8 / 12)


@pytest.mark.parametrize("half_width", [0.1, 0.06, 0.05])
def test_as_many_labels_as_said_give_about_the_width(half_width: float) -> None:
    def run(times: int) -> CorrectedMean:
        others = 500 - 20 * times
        known = [(1.0, 1.0)] * 14 * times + [(0.0, 0.0)] * 4 * times + [(1.0, 0.0)] * times + [(0.0, 1.0)] * times
        return corrected(results_of(known, [1.0] * (others * 3 // 4) + [0.0] * (others - others * 3 // 4)))

    needed = run(3).labels_needed(half_width)
    assert needed is not None
    interval = run(max(round(needed / 20), 1)).interval
    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.2)


@pytest.mark.parametrize("share", [0.7, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(5))
def test_a_narrower_interval_takes_more_labels_than_there_are(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    human = np.round(rng.beta(5, 1, 500), 1)
    judge = np.clip(human + rng.normal(0, 0.1, 500), 0, 1)
    found = corrected(results_of(list(zip(judge[:60], human[:60], strict=True)), list(judge[60:])))
    needed = found.labels_needed(share * (found.interval.high - found.interval.low) / 2)
    assert needed is None or needed > 60


def test_no_labels_give_a_width_that_the_items_do_not() -> None:
    found = corrected(results_of([(1.0, 1.0)] * 25 + [(0.0, 0.0)] * 25, [1.0] * 25 + [0.0] * 25))
    assert found.labels_needed(0.02) is None


def test_a_delta_of_runs_labelled_on_the_same_items_is_surer() -> None:
    known = [(1.0, 1.0)] * 30 + [(0.0, 0.0)] * 12 + [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 3
    better = [(judge, 1.0 if n in (31, 43, 44, 45) else human) for n, (judge, human) in enumerate(known)]
    others = [1.0] * 300 + [0.0] * 150
    first, second = corrected(results_of(known, others)), corrected(results_of(better, others))
    apart = corrected([result(f"other {one.item_id}", one.judge, one.human) for one in results_of(better, others)])
    same, different = correct_delta(first, second), correct_delta(first, apart)
    assert same.delta == different.delta == pytest.approx(second.mean - first.mean)
    assert same.interval.high - same.interval.low < 0.7 * (different.interval.high - different.interval.low)
    turned = correct_delta(second, first).interval
    assert (turned.low, turned.high) == pytest.approx((-same.interval.high, -same.interval.low))
    needed = different.labels_needed(0.1)
    assert needed is not None
    assert needed > 50


def _hits(*groups: tuple[bool, float, int]) -> list[tuple[bool, float, str]]:
    hits = [(hit, weight) for hit, weight, count in groups for _ in range(count)]
    return [(*each, f"i{n}") for n, each in enumerate(hits)]


def test_rates_of_a_weighted_draw_are_weighted() -> None:
    """Of what people pass, the judge passes 20 that stand for 18 each and fails 5 that stand for 2 each."""
    share, interval = weighted_share(_hits((True, 18.0, 20), (False, 2.0, 5)))
    assert share == pytest.approx(0.72 / 0.74, abs=2e-4)
    assert 0.75 < interval.low < share < interval.high < 1
    assert weighted_share(_hits((True, 3.0, 7), (False, 3.0, 3)))[1] == pytest.approx(wilson(7, 10))


@pytest.mark.parametrize(
    "groups", [((True, 3.0, 7), (False, 3.0, 3)), ((True, 1.0, 9),), ((True, 5.0, 6), (False, 1.0, 9))]
)
def test_rates_of_repeats_that_are_alike_are_as_sure_as_those_of_their_items(
    groups: tuple[tuple[bool, float, int], ...],
) -> None:
    single = _hits(*groups)
    assert weighted_share(single * 4)[1] == pytest.approx(weighted_share(single)[1], abs=0.02)


def test_rates_of_repeats_that_differ_like_items_are_as_sure_as_those_of_as_many_items() -> None:
    each = [(hit, 1.0, f"i{n}") for n in range(40) for hit in (True, True, True, False)]
    assert weighted_share(each)[1] == pytest.approx(wilson(120, 160))
