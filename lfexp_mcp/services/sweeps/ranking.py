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
    has_direction = not any(each.verdict in ("higher", "lower") for each in scores)
    deltas = {each.run: round(each.delta, DECIMALS) for each in scores if each.delta is not None}
    if deltas:
        deltas[comparison.baseline] = 0.0
    rows = [
        RankedRun(
            score=name,
            run=each.run,
            rank=_place(deltas, each.run) if has_direction else None,
            mean=each.mean,
            delta=each.delta,
            p_adjusted=each.p_adjusted,
            verdict=each.verdict,
            pairs=each.pairs,
        )
        for each in scores
    ]
    means = {run.run: run.means.get(name) for run in comparison.runs}
    base = comparison.baseline
    rank = _place(deltas, base) if has_direction else None
    rows.append(RankedRun(score=name, run=base, rank=rank, mean=means.get(base), verdict="first run"))
    return sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.run != base))


def _place(deltas: dict[str, float], run: str) -> int | None:
    return 1 + sum(delta > deltas[run] for delta in deltas.values()) if run in deltas else None
