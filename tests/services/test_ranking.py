"""Ranks of the runs of a sweep."""

import pytest

from lfexp_mcp.answers.comparison import Comparison, RunMetrics, ScoreComparison
from lfexp_mcp.reports.comparison import comparison_report
from lfexp_mcp.reports.layout import Table
from lfexp_mcp.services.sweeps import rank_runs

DELTAS = {"fast": -0.4, "slow": 0.3, "same": 0.0, "unknown": None}


def compared(*, lower_is_better: bool | None) -> Comparison:
    return Comparison(
        backend="b",
        dataset="d",
        baseline="first",
        pass_mark=0.7,
        min_delta=0.02,
        runs=[RunMetrics(run=name, status="completed", items=1, succeeded=1) for name in ("first", *DELTAS)],
        scores=[
            ScoreComparison(
                score="seconds",
                run=name,
                verdict="inconclusive",
                reason="",
                pairs=1,
                margin=0.02,
                delta=delta,
                lower_is_better=lower_is_better,
            )
            for name, delta in DELTAS.items()
        ],
    )


@pytest.mark.parametrize(
    ("lower_is_better", "ranks"),
    [
        (False, {"slow": 1, "first": 2, "same": 2, "fast": 4, "unknown": None}),
        (True, {"fast": 1, "first": 2, "same": 2, "slow": 4, "unknown": None}),
        (None, dict.fromkeys(["first", *DELTAS])),
    ],
)
def test_ranks_follow_what_is_better_and_there_are_none_where_that_is_unknown(
    lower_is_better: bool | None, ranks: dict[str, int | None]
) -> None:
    ranked, _ = rank_runs(compared(lower_is_better=lower_is_better))
    assert {row.run: row.rank for row in ranked} == ranks


def test_a_report_lists_the_best_of_several_runs_first_and_does_not_publish_its_direction() -> None:
    answer = compared(lower_is_better=True)
    [scores] = [block for block in comparison_report(answer).blocks if isinstance(block, Table) and block.heading]
    assert [row[0] for row in scores.rows] == ["fast", "same", "slow", "unknown"]
    assert "lower_is_better" not in answer.model_dump()["scores"][0]
