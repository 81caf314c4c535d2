"""What held-out items say: the verdict, its figures, the looks, and the size that a look takes."""

import json
import math

import pytest
from pydantic import JsonValue

from lfexp_mcp.model import Confirmation
from lfexp_mcp.services.comparison.run_pair import RunPair, pair_runs
from lfexp_mcp.services.confirmation.case import Looks, _normal_form, levels_of, size_of
from lfexp_mcp.services.confirmation.verdict import coarse_p, decide
from lfexp_mcp.statistics.paired import PairedResult, compare_pairs
from tests.benchmarks import confirmation as simulated
from tests.benchmarks.selection import pass_fail
from tests.statistics.simulated import run_of

FIRST = levels_of(1)
Results = list[tuple[float | None, float | None]]


def paired(pairs: Results) -> RunPair:
    """Two runs over the same items; None for an item without a score."""
    runs = [
        run_of([{} if values[side] is None else {"acc": float(values[side] or 0)} for values in pairs], name=name)
        for side, name in enumerate(("a", "b"))
    ]
    return pair_runs(runs[0], runs[1])


def passes(gains: int, losses: int, n: int) -> Results:
    """Pass/fail results of two runs."""
    rest = n - gains - losses
    results: Results = [(0.0, 1.0)] * gains
    return [*results, *[(1.0, 0.0)] * losses, *[(1.0, 1.0)] * (rest // 2), *[(0.0, 0.0)] * (rest - rest // 2)]


@pytest.mark.parametrize(
    ("gains", "losses", "n", "look", "verdict"),
    [
        (30, 5, 90, 1, "better"),
        (5, 30, 90, 1, "worse"),
        (12, 3, 90, 1, "better"),
        (12, 3, 90, 2, "inconclusive"),
        (12, 3, 90, 5, "inconclusive"),
        (9, 9, 90, 1, "inconclusive"),
        (0, 0, 90, 1, "equivalent"),
        (0, 0, 30, 1, "inconclusive"),
        (6, 0, 90, 1, "better"),
        (6, 0, 90, 2, "inconclusive"),
        (9, 0, 90, 5, "inconclusive"),
        (10, 0, 90, 5, "better"),
    ],
)
def test_verdicts_follow_from_the_pairs_and_from_the_look(
    gains: int, losses: int, n: int, look: int, verdict: str
) -> None:
    found = decide(paired(passes(gains, losses, n)), "acc", 0.08, levels_of(look))
    assert found.verdict == verdict
    assert found.interval is not None
    assert found.delta is not None
    assert found.p_adjusted is not None
    assert found.interval.low <= found.delta <= found.interval.high
    assert (found.p_adjusted <= 0.05) is (verdict in ("better", "worse"))


def test_one_item_more_or_less_hardly_ever_shows() -> None:
    shown = {
        (found.delta, found.interval, found.p_adjusted)
        for gains in range(10, 20)
        for found in [decide(paired(passes(gains, 10, 90)), "acc", 0.1, FIRST)]
    }
    assert len(shown) <= 6
    assert all(math.isclose(delta / 0.05, round(delta / 0.05), abs_tol=1e-9) for delta, _, _ in shown if delta)


def test_missing_values_count_at_their_worst_and_at_their_best() -> None:
    clear = passes(50, 0, 90)
    assert decide(paired(clear), "acc", 0.1, FIRST).verdict == "better"
    few = decide(paired([*clear[:-3], *[(1.0, None)] * 3]), "acc", 0.1, FIRST)
    assert few.verdict == "better"
    assert "fewer than 5%" in few.reason
    many = decide(paired([*clear[:50], *[(1.0, None)] * 40]), "acc", 0.1, FIRST)
    assert many.verdict == "inconclusive"
    assert "at least 5%" in many.reason
    crashing: Results = [*[(1.0, None)] * 45, *passes(10, 0, 45)]
    assert decide(paired(crashing), "acc", 0.1, FIRST).verdict == "inconclusive"
    assert decide(paired([(None, None)] * 40), "acc", 0.1, FIRST).delta is None


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0462, 0.05), (0.0512, 0.1), (0.0, 0.0), (1.0, 1.0), (0.93, 1.0), (0.21, 0.5), (3.4e-7, 5e-7), (0.02, 0.02)],
)
def test_a_p_is_shown_as_the_next_of_a_few_values(p: float, shown: float) -> None:
    assert coarse_p(p) == pytest.approx(shown)


def confirmation(code: str, against: str | None = "base", score: str = "acc", items: str = "i") -> Confirmation:
    return Confirmation(of=code, code=code, judged_by="judge", items=items, against=against, score=score)


def test_looks_are_counted_by_what_is_asked_and_not_by_names_or_baselines_runs() -> None:
    baseline = confirmation("base", None)
    begun = [baseline, confirmation("b"), confirmation("c"), confirmation("b", items="j"), confirmation("c", score="x")]
    looks = Looks(begun)
    assert looks.number(confirmation("b")) == 1
    assert looks.number(confirmation("c")) == 2
    assert looks.number(confirmation("c", score="x")) == 3
    assert looks.number(confirmation("c", "other baseline")) == looks.number(confirmation("new")) == 4
    assert looks.find(confirmation("base", None, items="more")) is None, "further items take another baseline's run"
    assert len({one.run_name for one in begun}) == 4, "a name tells what is asked"


def measured(gains: int, losses: int, n: int) -> PairedResult:
    found = compare_pairs([(first or 0.0, second or 0.0) for first, second in passes(gains, losses, n)], 1.0)
    assert found is not None
    return found


def test_the_size_is_that_for_the_difference_of_interest_at_the_looks_level() -> None:
    shown = measured(28, 14, 210)
    first, second = (size_of(shown, 1000, 0.08, levels_of(look)).needed for look in (1, 2))
    assert first is not None
    assert second is not None
    # By the discordance seen, 20%, it would be 238; planned with its upper limit.
    assert 238 < first < 300 < second
    small = size_of(shown, 90, 0.08, FIRST)
    assert small.needed == first
    assert small.smallest is not None
    assert 0.12 < small.smallest < 0.16
    assert size_of(shown, 90, small.smallest, FIRST).needed <= 90  # type: ignore[operator]
    assert size_of(shown, 5, 0.08, FIRST).smallest is None
    constant = compare_pairs([(0.2, 0.9)] * 60, 1.0)
    assert constant is not None
    assert size_of(constant, 90, 0.3, FIRST).smallest == 0.3
    no_difference = compare_pairs([(0.5, 0.5)] * 60, 1.0)
    assert no_difference is not None
    assert size_of(no_difference, 90, 0.08, FIRST).needed is None


@pytest.mark.slow
def test_equal_variants_are_hardly_ever_confirmed_and_a_real_gain_is_at_the_stated_size() -> None:
    loops = 20
    error = 3 * (0.05 * 0.95 / loops) ** 0.5
    assert simulated.confirmed(pass_fail, simulated.all_runs, 70, 30, loops) <= 0.05 + error
    trials = 40
    told, _ = simulated.power(simulated.alike_passes, 210, 1, trials)
    assert told >= 0.8 - 3 * (0.8 * 0.2 / trials) ** 0.5


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("What  is\nIt?", "what is it?", True),
        ({"q": 1.0, "a": ["X"]}, {"a": ["x"], "q": 1}, True),
        ("1", 1, False),
        (json.loads("[" * 600 + "]" * 600), json.loads("[" * 600 + "]" * 600), True),
        (json.loads("[" * 600 + "]" * 600), json.loads("[" * 599 + "]" * 599), False),
    ],
)
def test_inputs_that_read_the_same_are_the_same(one: JsonValue, other: JsonValue, alike: bool) -> None:
    assert (_normal_form(one) == _normal_form(other)) is alike
