import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.retries import FailureKind, Retries, RetryPolicy, read_retry_after

POLICY = RetryPolicy(
    attempts=4, connect_attempts=2, throttled_attempts=6, throttled_patience_s=10, first_delay_s=1, max_delay_s=3
)


def delays(policy: RetryPolicy, kind: FailureKind, retry_after_s: float | None = None) -> list[float]:
    """Fail in one way until the policy gives up."""
    retries, found = Retries(policy), []
    while (delay := retries.next_delay(kind, retry_after_s=retry_after_s)) is not None:
        found.append(delay)
    return found


def test_the_delay_doubles_up_to_its_maximum_with_a_quarter_of_jitter() -> None:
    found = delays(POLICY, "failed")
    assert len(found) == 3
    assert all(0.75 * base <= delay <= 1.25 * base for delay, base in zip(found, (1, 2, 3), strict=True))


@pytest.mark.parametrize(("kind", "attempts"), [("failed", 4), ("unreachable", 2), ("throttled", 6)])
def test_each_kind_of_failure_has_its_attempts(kind: FailureKind, attempts: int) -> None:
    assert len(delays(POLICY, kind)) == attempts - 1


def test_throttled_calls_are_not_counted_as_failed() -> None:
    retries = Retries(POLICY)
    waits = [retries.next_delay("throttled") for _ in range(5)] + [retries.next_delay() for _ in range(3)]
    assert None not in waits
    assert retries.next_delay() is None


def test_a_wait_that_the_server_asks_for_is_kept_until_patience_runs_out() -> None:
    found = delays(POLICY, "throttled", retry_after_s=3)
    assert len(found) == 3
    assert all(3 <= delay <= 3.3 for delay in found)


def test_a_server_that_asks_for_no_wait_gets_the_back_off() -> None:
    assert delays(POLICY, "throttled", retry_after_s=0)[0] >= 0.75


def test_retries_without_end_do_not_overflow() -> None:
    retries = Retries(RetryPolicy(attempts=None))
    assert {retries.next_delay() is None for _ in range(2000)} == {False}


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


@pytest.mark.slow
@given(st.text() | st.from_regex(r"Wed, \d+ Oct \d+ \d+:\d+:\d+ [+-]\d+", fullmatch=True))
def test_no_value_breaks_the_reading(value: str) -> None:
    wait = read_retry_after(value)
    assert wait is None or wait >= 0
