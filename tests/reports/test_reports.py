"""Answers as text."""

from dataclasses import replace
from typing import Any

import pytest

from lfexp_mcp.model import Progress, ProviderRetries
from lfexp_mcp.reports.layout import score_value

RUNNING = Progress(done=9, total=10, failed=0, running=1, longest_wait=95.2, items_per_second=2.0, seconds_left=None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (False, "false"), (1.0, "1"), (0.123456, "0.1235"), ("two\nlines", "two lines"), (None, "")],
)
def test_a_scores_value_reads_the_same_in_every_report(value: float | bool | str | None, shown: str) -> None:
    assert score_value(value) == shown


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "9/10 items, 2.0/s, waiting for 1 item, running for 95 s"),
        ({"done": 7, "running": 3}, "7/10 items, 2.0/s, waiting for 3 items, the longest for 95 s"),
        ({"done": 10, "running": 0, "scoring": 1}, "10/10 items, 2.0/s, scoring 1 item for 95 s"),
        ({"done": 10, "running": 0, "scoring": 2}, "10/10 items, 2.0/s, scoring 2 items, the longest for 95 s"),
        ({"done": 10, "running": 0, "longest_wait": None}, "10/10 items, 2.0/s"),
        ({"done": 5, "failed": 2, "seconds_left": 2.5, "longest_wait": 3.0}, "5/10 items, 2 failed, 2.0/s, 2 s left"),
        ({"done": 5, "seconds_left": 40.0}, "5/10 items, 2.0/s, 40 s left, longest running for 95 s"),
        ({"running": 0, "longest_wait": None, "items_per_second": 0.05}, "9/10 items, 3/min"),
        ({"done": 0, "items_per_second": None}, "0/10 items, waiting for 1 item, running for 95 s"),
        (
            {
                "done": 5,
                "running": 0,
                "longest_wait": None,
                "seconds_left": 8.0,
                "provider_retries": (ProviderRetries("openai", 15, 12), ProviderRetries("anthropic", 1)),
            },
            "5/10 items, 2.0/s, 8 s left, openai: 15 retries (12 rate-limited), anthropic: 1 retry",
        ),
    ],
)
def test_a_line_of_progress_tells_the_time_left_or_what_is_waited_for(changes: dict[str, Any], line: str) -> None:
    assert str(replace(RUNNING, **changes)) == line
