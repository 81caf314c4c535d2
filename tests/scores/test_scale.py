import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.model import BOOLEAN, TEN, UNIT, Category, Scale, parse_scale_name


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
    assert scale.normalise(raw) == pytest.approx(value)


@pytest.mark.parametrize(
    ("scale", "raw"),
    [
        (TEN, 11),
        (TEN, -1),
        (TEN, 85),
        (TEN, 10.011),
        (UNIT, 8),
        (Scale(1, 5), 0),
        (Scale(1, 5), 9),
        (Scale(0, 10, lower_is_better=True), 14),
        (TEN, math.nan),
        (TEN, math.inf),
        (TEN, -math.inf),
    ],
)
def test_a_number_outside_its_scale_is_moved_to_no_end_of_it(scale: Scale, raw: float) -> None:
    assert scale.within(raw) is None
    with pytest.raises(ValueError, match=re.escape(str(raw))):
        scale.normalise(raw)


@pytest.mark.parametrize(
    ("scale", "raw", "end"), [(TEN, 10.0001, 10), (TEN, -1e-9, 0), (Scale(0, 100), 100.1, 100), (Scale(1, 5), 0.997, 1)]
)
def test_a_number_outside_by_rounding_alone_is_the_end(scale: Scale, raw: float, end: float) -> None:
    assert scale.within(raw) == end
    assert scale.normalise(raw) in {0, 1}


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
        (Scale(-1, 1), 0.4999, "0.50 (0 on -1 to 1)"),
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
    with pytest.raises(ValueError, match=f"{low}.*{high}"):
        Scale(low, high)


_ENDS = st.floats(-1000, 1000).map(lambda number: round(number, 3))


@pytest.mark.slow
@given(st.tuples(_ENDS, _ENDS).filter(lambda ends: ends[1] - ends[0] > 0.01), st.booleans(), st.floats(0, 1))
def test_raw_and_canonical_are_each_others_inverse(ends: tuple[float, float], lower: bool, value: float) -> None:
    scale = Scale(*ends, lower_is_better=lower)
    assert scale.normalise(scale.raw(value)) == pytest.approx(value, abs=1e-6)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 6), st.booleans())
def test_a_canonical_value_is_never_outside_0_to_1(raw: float, lower: bool) -> None:
    scale = Scale(1, 5, lower_is_better=lower)
    assert scale.within(raw) is None or 0 <= scale.normalise(raw) <= 1


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
