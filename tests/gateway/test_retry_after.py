import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.gateway.retry_after import read_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00", None),
        ("soon", None),
        ("²", None),
        ("nan", None),
        ("1e999", None),
    ],
)
def test_seconds_and_dates_are_read_and_all_else_is_nothing(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value) == seconds


def test_a_date_to_come_is_as_many_seconds_away() -> None:
    wait = read_retry_after("Wed, 21 Oct 2099 07:28:00 GMT")
    assert wait is not None
    assert wait > 86_400


@given(st.text() | st.from_regex(r"Wed, \d+ Oct \d+ \d+:\d+:\d+ [+-]\d+", fullmatch=True))
def test_no_value_breaks_the_reading(value: str) -> None:
    wait = read_retry_after(value)
    assert wait is None or wait >= 0
