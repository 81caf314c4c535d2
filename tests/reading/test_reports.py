"""Answers as text."""

import pytest

from lfexp_mcp.reports.layout import score_value


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (False, "false"), (1.0, "1"), (0.123456, "0.1235"), ("two\nlines", "two lines"), (None, "")],
)
def test_a_scores_value_reads_the_same_in_every_report(value: float | bool | str | None, shown: str) -> None:
    assert score_value(value) == shown
