"""Stopping early: levels against published ones, odd looks, and what the rule promises."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lfexp_mcp.model import LookVerdict
from lfexp_mcp.statistics.sequential import levels_at, look_levels, look_sizes, place_in_order, spent, take_look
from tests.statistics.stopped import covers, pass_fail, rule_of, stopped_runs

PUBLISHED = {
    2: [2.963, 1.969],
    3: [3.710, 2.511, 1.993],
    4: [4.333, 2.963, 2.359, 2.014],
    5: [4.877, 3.357, 2.680, 2.290, 2.031],
}
"""Bounds of equally spaced looks, spending like O'Brien and Fleming, two-sided 0.05 (R's gsDesign and ldbounds)."""


@pytest.mark.parametrize("looks", PUBLISHED)
def test_levels_are_those_of_published_boundaries(looks: int) -> None:
    from scipy.stats import norm

    levels = look_levels(tuple(100 * look for look in range(1, looks + 1)), 0.05)
    assert norm.isf([level / 2 for level in levels]) == pytest.approx(PUBLISHED[looks], abs=6e-4)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
@pytest.mark.parametrize("sizes", [(40, 70, 100), (200, 250, 300, 360, 500)])
def test_all_looks_together_cross_as_often_as_is_spent(sizes: tuple[int, ...], alpha: float) -> None:
    from scipy.stats import norm

    rng, walks = np.random.default_rng(3), 300_000
    steps = np.sqrt(np.diff([0, *sizes]))
    scores = (rng.normal(size=(walks, len(sizes))) * steps).cumsum(axis=1) / np.sqrt(sizes)
    bounds = norm.isf([level / 2 for level in look_levels(sizes, alpha)])
    crossed = (np.abs(scores) > bounds).any(axis=1).mean()
    assert crossed == pytest.approx(alpha, abs=3 * math.sqrt(alpha / walks))


def test_spending_is_all_of_the_level_at_the_end_only() -> None:
    shares = [spent(share / 100, 0.05) for share in range(1, 101)]
    assert shares == sorted(shares)
    assert shares[19] == pytest.approx(1.08e-6, rel=0.01)
    assert shares[-1] == 0.05


@pytest.mark.parametrize("items", [1, 2, 3, 5, 12, 440, 500, 100_001])
def test_looks_are_at_most_five_and_the_last_is_at_all_items(items: int) -> None:
    sizes = look_sizes(items)
    assert len(sizes) <= 5
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[-1] == items
    assert look_levels(sizes, 0.05)[-1] <= 0.05


def test_the_order_is_random_and_the_same_wherever_it_is_made() -> None:
    ids = [f"item-{number}" for number in range(100)]
    orders = [sorted(ids, key=lambda item: place_in_order(seed, item)) for seed in ("a", "a", "b")]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != ids
    assert place_in_order("a", "\ud800")


ZEROS = [(0.5, 0.5)]
LOOKS: list[tuple[str, int, Sequence[tuple[float, float]], Sequence[float], int, LookVerdict | None]] = [
    ("9 wins of 200: far from the level of the first look", 500, pass_fail(9, 0, 200), [], 1, None),
    ("a level of 0.01 would stop it", 500, pass_fail(10, 1, 200), [], 1, None),
    ("all discordant pairs are won", 500, pass_fail(18, 0, 200), [], 1, "better"),
    ("all are lost", 500, pass_fail(0, 18, 200), [], 1, "worse"),
    ("ties only say nothing at once", 500, pass_fail(0, 0, 200), [], 1, None),
    ("as many wins as losses", 500, pass_fail(20, 20, 250), [], 2, "inconclusive"),
    ("as many, of few items that differ", 2000, pass_fail(8, 8, 1000), [], 2, "equivalent"),
    ("a loss that may still be shown", 500, pass_fail(10, 24, 250), [], 2, None),
    ("scores of which two differ, by much", 50, [*ZEROS * 18, (0.0, 0.9), (0.1, 1.0)], [], 1, None),
    ("ties only of a few items", 50, [(1.0, 1.0)] * 20, [], 1, None),
    ("the same difference in all of few pairs", 50, [(0.5, 0.6)] * 20, [], 1, None),
    ("too few pairs for a test", 10, [(0.0, 1.0)] * 4, [], 1, None),
    ("20 failed, of which 16 had passed before", 500, pass_fail(18, 0, 180), [1.0] * 16 + [0.0] * 4, 1, None),
    ("1 failed, which changes nothing", 500, pass_fail(25, 0, 199), [1.0], 1, "better"),
    ("worse, even if all that failed had passed", 500, pass_fail(0, 25, 199), [1.0], 1, "worse"),
]


@pytest.mark.parametrize(
    ("items", "pairs", "missing", "number", "verdict"), [row[1:] for row in LOOKS], ids=[row[0] for row in LOOKS]
)
def test_a_look_stops_a_run_only_for_good_reason(
    items: int,
    pairs: Sequence[tuple[float, float]],
    missing: Sequence[float],
    number: int,
    verdict: LookVerdict | None,
) -> None:
    look = take_look(rule_of(items), number, pairs, missing)
    assert look.verdict == verdict
    assert look.pairs == len(pairs)
    if verdict in ("better", "worse"):
        assert look.interval is not None
        assert look.interval.excludes_zero
        assert look.estimate is not None
        assert abs(look.estimate) <= abs(look.delta) * (1 + 1e-6)
        assert (look.estimate > 0) is (verdict == "better")


def test_a_later_look_is_corrected_for_the_runs_that_did_not_come_to_it() -> None:
    look = take_look(rule_of(500), 4, pass_fail(8, 29, 360))
    assert look.verdict == "worse"
    assert look.estimate is not None
    assert look.delta + 0.002 < look.estimate < -0.03


def test_a_look_without_pairs_is_no_look() -> None:
    with pytest.raises(ValueError, match="pairs"):
        take_look(rule_of(100), 1, [], [1.0])


def test_a_later_candidate_is_better_at_its_own_level_and_worse_at_the_usual_one() -> None:
    seventh = rule_of(500, rise=0.05 / 28)
    assert take_look(rule_of(500), 2, pass_fail(14, 1, 250)).verdict == "better"
    assert take_look(seventh, 2, pass_fail(14, 1, 250)).verdict is None
    assert take_look(seventh, 2, pass_fail(1, 14, 250)).verdict == "worse"
    assert levels_at(seventh, 2).rise == look_levels(seventh.sizes, 0.05 / 28)[1]


@pytest.mark.slow
@pytest.mark.parametrize(("delta", "fewer"), [(-0.05, 0.25), (-0.08, 0.5), (0.0, 0.25)])
def test_runs_stop_early_and_find_what_a_whole_run_would(delta: float, fewer: float) -> None:
    repeats = 1200
    found = stopped_runs(delta, 0.12, repeats, rule_of(500))
    error = 3 * math.sqrt(0.25 / repeats)
    assert found.items <= 1 - fewer
    if delta == 0:
        assert found.shown <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
    else:
        assert found.shown >= found.shown_whole - 0.02 - error / 3


@pytest.mark.slow
@pytest.mark.parametrize("delta", [0.0, 0.1])
def test_the_interval_holds_and_the_estimate_is_right_in_the_middle_whenever_a_run_stops(delta: float) -> None:
    rng, rule, held, above, repeats = np.random.default_rng(4), rule_of(250), 0, 0, 120
    for _ in range(repeats):
        shares = [(0.2 + delta) / 2, (0.2 - delta) / 2, 0.8]
        kinds = rng.choice(3, rule.sizes[-1], p=shares)
        for number, size in enumerate(rule.sizes, 1):
            wins, losses = (int((kinds[:size] == kind).sum()) for kind in (0, 1))
            look = take_look(rule, number, pass_fail(wins, losses, size))
            if look.verdict is not None or size == rule.sizes[-1]:
                held += covers(look, delta)
                above += (look.estimate if look.estimate is not None else look.delta) > delta
                break
    assert held / repeats >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert above / repeats == pytest.approx(0.5, abs=3 * math.sqrt(0.25 / repeats) + 0.05)
