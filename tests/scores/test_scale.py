import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.scale import BOOLEAN, TEN, UNIT, Category, Normalised, Scale, parse_scale_name


@pytest.mark.parametrize(
    ("scale", "raw", "value"),
    [
        (TEN, 1, 0.1),
        (TEN, 8.2, 0.82),
        (UNIT, 0.85, 0.85),
        (Scale(1, 5), 1, 0.0),
        (Scale(1, 5), 4, 0.75),
        (Scale(0, 100), 85, 0.85),
        (Scale(0, 10, lower_is_better=True), 2, 0.8),
        (Scale(-1, 1), 0, 0.5),
    ],
)
def test_a_raw_value_maps_linearly_onto_0_to_1(scale: Scale, raw: float, value: float) -> None:
    normalised = scale.normalise(raw)
    assert normalised.value == pytest.approx(value)
    assert not normalised.clamped


@pytest.mark.parametrize(("raw", "value"), [(11, 1.0), (-0.5, 0.0)])
def test_a_value_outside_its_scale_is_clamped_and_flagged(raw: float, value: float) -> None:
    assert TEN.normalise(raw) == Normalised(value, clamped=True)


def test_a_reversed_scale_clamps_to_the_end_the_raw_value_is_near() -> None:
    assert Scale(0, 10, lower_is_better=True).normalise(14) == Normalised(0.0, clamped=True)


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_score(raw: float) -> None:
    with pytest.raises(ValueError, match="is no score"):
        TEN.normalise(raw)


@pytest.mark.parametrize(
    ("scale", "mean", "shown"),
    [
        (TEN, 0.82, "0.82 (8.2/10)"),
        (TEN, 0.1, "0.10 (1/10)"),
        (UNIT, 0.824, "0.82"),
        (Scale(1, 5), 0.75, "0.75 (4/5)"),
        (Scale(0, 100), 0.851, "0.85 (85.1/100)"),
        (Scale(0, 10, lower_is_better=True), 0.82, "0.82 (1.8/10, lower is better)"),
        (Scale(-1, 1), 0.5, "0.50 (0 on -1 to 1)"),
    ],
)
def test_a_mean_is_shown_on_both_scales(scale: Scale, mean: float, shown: str) -> None:
    assert scale.display(mean) == shown


@pytest.mark.parametrize(
    ("scale", "name"),
    [
        (TEN, "0-10"),
        (Scale(1, 5, lower_is_better=True), "1-5, lower is better"),
        (Scale(-1, 1), "-1 to 1"),
        (Scale(0, 1, kind="BOOLEAN", categories=(Category("PASS", 1), Category("FAIL", 0))), "PASS/FAIL"),
    ],
)
def test_a_scale_has_a_short_name(scale: Scale, name: str) -> None:
    assert scale.name == name


@pytest.mark.parametrize(("low", "high"), [(1, 1), (10, 0), (0, math.inf), (math.nan, 1)])
def test_a_scale_without_two_ends_in_order_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="two ends in order"):
        Scale(low, high)


_ENDS = st.floats(-1000, 1000).map(lambda number: round(number, 3))


@given(st.tuples(_ENDS, _ENDS).filter(lambda ends: ends[1] - ends[0] > 0.01), st.booleans(), st.floats(0, 1))
def test_raw_and_canonical_are_each_others_inverse(ends: tuple[float, float], lower: bool, value: float) -> None:
    scale = Scale(*ends, lower_is_better=lower)
    assert scale.normalise(scale.raw(value)).value == pytest.approx(value, abs=1e-6)


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_a_canonical_value_is_never_outside_0_to_1(raw: float, lower: bool) -> None:
    assert 0 <= Scale(1, 5, lower_is_better=lower).normalise(raw).value <= 1


@pytest.mark.parametrize(
    "scale",
    [TEN, UNIT, BOOLEAN, Scale(1, 5, lower_is_better=True), Scale(-1, 1), Scale(-5, -1), Scale(0, 0.25), Scale(0, 1e7)],
    ids=lambda scale: scale.name,
)
def test_a_scale_is_known_by_its_name(scale: Scale) -> None:
    assert parse_scale_name(scale.name) == scale


@pytest.mark.parametrize("name", ["good/bad", "", "5-1", "ten", "0-", "3-3"])
def test_a_name_that_tells_no_scale_gives_none(name: str) -> None:
    assert parse_scale_name(name) is None
