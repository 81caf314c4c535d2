"""The clock of runs."""

from lfexp_mcp.clock import Clock


def test_a_clock_that_is_set_goes_on_from_there_and_measures_as_before() -> None:
    clock = Clock()
    before, an_hour = clock.monotonic(), 3_600_000_000_000
    clock.set(clock.time_ns() - an_hour)
    assert abs(Clock().time_ns() - an_hour - clock.time_ns()) < an_hour / 60
    assert clock.monotonic() - before < an_hour / 1e9
    assert clock.time_ns() <= clock.time_ns()
