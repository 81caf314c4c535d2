"""Ranking runs against the first, by the comparison that `compare_runs` makes."""

from collections.abc import Sequence

from lfexp_mcp.answers.comparison import Comparison, ScoreComparison
from lfexp_mcp.answers.run import RankedRun

DECIMALS = 9
"""Further decimals of a difference hold rounding errors."""


def rank_runs(comparison: Comparison) -> tuple[list[RankedRun], list[str]]:
    """Rank runs, per score, by their difference to the first on the items that both have.

    The means over all items of each run would favour one that failed on the hard items. Runs that differ by nothing
    share a rank; one that cannot be compared, or a score of which it is unknown whether more is better, has none.

    Returns:
        Per score, the runs with the best first; and notes on what the ranking does not show.
    """
    ranked: list[RankedRun] = []
    notes: list[str] = []
    for name in dict.fromkeys(each.score for each in comparison.scores):
        scores = [each for each in comparison.scores if each.score == name]
        ranked += _rank(name, scores, comparison)
        notes += (f"{each.run}: {each.reason}" for each in scores if each.verdict == "not comparable")
        if not any(each.verdict in ("better", "higher") for each in scores):
            notes.append(f"No run is shown to be better than {comparison.baseline!r} on {name!r}.")
    return ranked, notes


def _rank(name: str, scores: Sequence[ScoreComparison], comparison: Comparison) -> list[RankedRun]:
    base = comparison.baseline
    gains = {} if any(each.lower_is_better is None for each in scores) else _gains(scores, base)
    rows = [
        RankedRun(
            score=name,
            run=each.run,
            rank=_place(gains, each.run),
            mean=each.mean,
            delta=each.delta,
            p_adjusted=each.p_adjusted,
            verdict=each.verdict,
            pairs=each.pairs,
        )
        for each in scores
    ]
    means = {run.run: run.means.get(name) for run in comparison.runs}
    rows.append(RankedRun(score=name, run=base, rank=_place(gains, base), mean=means.get(base), verdict="first run"))
    return sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.run != base))


def _gains(scores: Sequence[ScoreComparison], baseline: str) -> dict[str, float]:
    """How much better each run is than the first; empty if no run can be compared."""
    signs = {each.run: -1 if each.lower_is_better else 1 for each in scores}
    gains = {each.run: signs[each.run] * round(each.delta, DECIMALS) for each in scores if each.delta is not None}
    return {**gains, baseline: 0.0} if gains else {}


def _place(gains: dict[str, float], run: str) -> int | None:
    return 1 + sum(gain > gains[run] for gain in gains.values()) if run in gains else None
