"""How far a judge has moved, against second implementations and by simulation."""

import math

import numpy as np
import pytest

from lfexp_mcp.statistics.drift import (
    Anchor,
    application_shift,
    judge_shift,
    position_bias,
    self_disagreement,
    worst_case,
)


def _anchors(then: list[float], now: list[float]) -> list[Anchor]:
    return [Anchor(f"i{n}", a, (b,)) for n, (a, b) in enumerate(zip(then, now, strict=True))]


def test_a_single_stratum_gives_students_interval_of_the_paired_differences() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    then = rng.uniform(0.2, 0.8, 40)
    now = then + rng.normal(0.02, 0.25, 40)
    found = judge_shift(_anchors([*map(float, then)], [*map(float, now)]), [500])
    known = stats.ttest_rel(now, then).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_strata_are_weighted_as_in_stratified_sampling() -> None:
    from scipy import stats

    rng = np.random.default_rng(2)
    sizes, counts = [20, 180], [12, 28]
    differences = [rng.normal(mean, 0.3, count) for mean, count in zip((0.2, -0.1), counts, strict=True)]
    anchors = [
        Anchor(f"{stratum}-{n}", 0.5, (0.5 + float(value),), stratum)
        for stratum, values in enumerate(differences)
        for n, value in enumerate(values)
    ]
    found = judge_shift(anchors, sizes)
    weights = np.array(sizes) / 200
    mean = sum(weight * values.mean() for weight, values in zip(weights, differences, strict=True))
    error = math.sqrt(sum(w**2 * v.var(ddof=1) / v.size for w, v in zip(weights, differences, strict=True)))
    assert found.value == pytest.approx(mean)
    squares = sum(w * (v**2).mean() for w, v in zip(weights, differences, strict=True))
    error = math.sqrt(error**2 + squares / 2 / 200)
    # One correction for all strata instead of one in each.
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 11) * error, rel=0.05)


def test_results_of_the_same_item_count_as_one() -> None:
    single = [Anchor(f"i{n}", 0.5, (0.5 + 0.3 * (n % 2),)) for n in range(20)]
    found, tripled = judge_shift(single, [100]), judge_shift([each for each in single for _ in range(3)], [300])
    assert tripled == pytest.approx(found, rel=1e-9)


def test_no_change_on_forty_anchors_leaves_room_for_a_change_in_one_of_fourteen() -> None:
    """Of 40, a share of 1 - 0.05 ** (1 / 40) may be missed altogether."""
    found = judge_shift(_anchors([0.0] * 40, [0.0] * 40), [500])
    assert found.value == 0
    assert found.high == pytest.approx(1 - 0.05 ** (1 / 40))


def test_what_lies_between_two_runs_is_the_judges_and_the_applications_shift() -> None:
    rng = np.random.default_rng(4)
    then = rng.uniform(0.3, 0.7, 200)
    judge, application = rng.normal(0.05, 0.05, 200), rng.normal(0.08, 0.1, 200)
    changes = {f"i{n}": float(judge[n] + application[n]) for n in range(200)}
    anchors = [Anchor(f"i{n}", float(then[n]), (float(then[n] + judge[n]),)) for n in range(40)]
    found = application_shift(anchors, [200], changes)
    assert found.value == pytest.approx(sum(changes.values()) / 200 - judge_shift(anchors, [200]).value)
    assert found.low < 0.08 < found.high


@pytest.mark.parametrize(
    ("votes", "disagreement"),
    [
        ([(1.0, 1.0), (0.0, 0.0)], 0.0),
        ([(1.0, 0.0), (0.0, 0.0)], 0.5),
        ([(1.0, 0.0, 0.0), (0.5, 0.5, 0.5)], 1 / 3),
        ([(0.2, 0.6), (0.2, 0.2)], 0.2),
        ([(1.0,), (0.0,)], None),
    ],
)
def test_votes_disagree_by_their_mean_difference(votes: list[tuple[float, ...]], disagreement: float | None) -> None:
    found = self_disagreement([Anchor(f"i{n}", 0.5, each) for n, each in enumerate(votes)], [2])
    assert found == (None if disagreement is None else pytest.approx(disagreement))


@pytest.mark.parametrize(
    ("first", "second", "asked", "bias"),
    [(40, 0, 40, 1.0), (4, 4, 40, 0.0), (0, 0, 40, 0.0), (8, 2, 40, 0.15), (0, 40, 40, -1.0)],
)
def test_position_bias_is_the_part_with_a_direction(first: int, second: int, asked: int, bias: float) -> None:
    signs = [1] * first + [-1] * second + [0] * (asked - first - second)
    found = position_bias([(f"i{n}", sign) for n, sign in enumerate(signs)])
    assert found.value == pytest.approx(bias)
    assert found.low <= bias <= found.high
    assert found.low < found.high


def test_pairs_of_the_same_item_show_a_position_bias_as_surely_as_one() -> None:
    single = [(f"i{n}", sign) for n, sign in enumerate([1] * 9 + [-1] * 2 + [0] * 9)]
    assert position_bias(single * 3) == pytest.approx(position_bias(single), rel=1e-6)


def test_what_cannot_be_scored_may_lie_anywhere() -> None:
    anchors = _anchors([0.5] * 32, [0.5] * 32)
    unread = [Anchor(f"u{n}", 0.5, ()) for n in range(8)]
    found = worst_case(lambda each: judge_shift(each, [500]), anchors, unread)
    # Eight of forty by half the scale either way, and what sampling adds.
    assert found.value == 0
    assert found.low < -0.1
    assert found.high > 0.1


def _drawn(rng: np.random.Generator, stratified: bool, anchors: int) -> tuple[list[Anchor], list[int], float]:
    """Draw a judge of 0-1 that moved by 0.05 on average on 300 outputs, and anchors of them."""
    outputs = 300
    quality = rng.uniform(0.2, 0.8, outputs)
    then = np.clip(quality + rng.normal(0, 0.1, outputs), 0, 1)
    moved = 0.05 + 0.1 * (quality - 0.5)
    order = rng.permutation(outputs)
    groups = [order] if not stratified else [order[then[order] < 0.5], order[then[order] >= 0.5]]
    chosen = [(stratum, each) for stratum, group in enumerate(groups) for each in group[: anchors // len(groups)]]
    now = np.clip(quality + moved + rng.normal(0, 0.1, outputs), 0, 1)
    found = [Anchor(str(each), float(then[each]), (float(now[each]),), stratum) for stratum, each in chosen]
    # The same judge as then, asked again, would give `quality` on average: that is what the shift is from.
    return found, [len(group) for group in groups], float((quality + moved - then).mean())


@pytest.mark.slow
@pytest.mark.parametrize("stratified", [False, True])
def test_the_interval_of_a_shift_holds_for_forty_anchors(stratified: bool) -> None:
    rng, loops, held, off = np.random.default_rng(5), 1000, 0, []
    for _ in range(loops):
        anchors, sizes, truth = _drawn(rng, stratified, 40)
        found = judge_shift(anchors, sizes)
        held += found.low <= truth <= found.high
        off.append(found.value - truth)
    assert held / loops > 0.94
    assert abs(float(np.mean(off))) < 0.003


@pytest.mark.slow
@pytest.mark.parametrize("stratified", [False, True])
def test_a_judge_that_did_not_move_is_rarely_said_to_have_moved(stratified: bool) -> None:
    rng, loops, held = np.random.default_rng(6), 1000, 0
    for _ in range(loops):
        passes = np.where(rng.random(200) < 0.8, 0.9, 0.2)
        then, now = ((rng.random(200) < passes).astype(float) for _ in range(2))
        order = rng.permutation(200)
        groups = [order[then[order] == 0], order[then[order] == 1]] if stratified else [order]
        first = min(20, len(groups[0])) if stratified else 40
        counts = [first, 40 - first] if stratified else [40]
        anchors = [
            Anchor(str(each), float(then[each]), (float(now[each]),), stratum)
            for stratum, (group, count) in enumerate(zip(groups, counts, strict=True))
            for each in group[:count]
        ]
        found = judge_shift(anchors, [len(group) for group in groups])
        held += found.low <= 0 <= found.high
    # 0.95 less four standard errors of 1,000 loops.
    assert held / loops > 0.95 - 4 * math.sqrt(0.95 * 0.05 / loops)
