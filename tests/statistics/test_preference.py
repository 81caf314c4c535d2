"""Preference from wins, losses and ties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.statistics.proportions import Preference


@pytest.mark.parametrize(
    ("counts", "share", "verdict"),
    [
        ((0, 0, 0), None, "inconclusive"),
        ((1, 0, 0), 1.0, "inconclusive"),
        ((0, 0, 1), 0.5, "inconclusive"),
        ((5, 0, 0), 1.0, "inconclusive"),
        ((6, 0, 0), 1.0, "better"),
        ((0, 6, 0), 0.0, "worse"),
        ((7, 2, 1), 0.75, "inconclusive"),
        ((0, 0, 50), 0.5, "inconclusive"),
    ],
)
def test_a_preference_counts_a_tie_as_half_a_win(
    counts: tuple[int, int, int], share: float | None, verdict: str
) -> None:
    preference = Preference(*counts)
    assert (preference.share, preference.verdict) == (share, verdict)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_the_interval_is_never_a_point_and_holds_the_share(wins: int, losses: int, ties: int) -> None:
    preference = Preference(wins, losses, ties)
    interval, share, p = preference.interval, preference.share, preference.p
    if interval is None or share is None or p is None:
        assert wins + losses + ties == 0
        return
    assert 0 <= interval.low <= share <= interval.high <= 1
    assert interval.high - interval.low > 1e-3
    assert 0 <= p <= 1
    mirrored = Preference(losses, wins, ties)
    assert mirrored.share == pytest.approx(1 - share)
    assert mirrored.p == pytest.approx(p)
    assert mirrored.interval is not None
    assert mirrored.interval.low == pytest.approx(1 - interval.high, abs=1e-9)
