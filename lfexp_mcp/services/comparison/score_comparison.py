"""The scores of runs against the baseline's, each test adjusted for the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from lfexp_mcp.answers.comparison import ComparabilityIssue, ScoreComparison, ScoreVerdict
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.services.comparison.comparability import script_change
from lfexp_mcp.services.comparison.missing_data import worst_case_delta
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.statistics.paired import DEFAULT_MIN_DELTA, PairedResult, PairedVerdict, compare_pairs, conclude
from lfexp_mcp.statistics.significance import holm


@dataclass(frozen=True, slots=True)
class _Test:
    """One score of one run against the baseline, not yet adjusted for other tests."""

    pair: RunPair
    score: str
    pairs: list[tuple[float, float]]
    margin: float
    """`min_delta` in the score's units."""
    result: PairedResult | None
    unfair: str
    """Why there is no fair comparison; empty if there is."""


def compare_scores(
    pairs: Sequence[RunPair],
    issues: Sequence[Sequence[ComparabilityIssue]],
    scores: Sequence[str],
    min_delta: float | None,
    primary_score: str | None,
) -> list[list[ScoreComparison]]:
    """Compare the scores of runs with the baseline's.

    All tests are one family, adjusted by Holm's method, unless a primary score is declared: its tests are then adjusted
    only for the number of runs, and the others among themselves.

    Args:
        pairs: The runs, each with the baseline.
        issues: Per run, what makes the comparison unfair.
        scores: The scores to compare.
        min_delta: Smallest difference of interest as a share of the scale; None for the default.
        primary_score: The score that the comparison is about; None if all are equal.

    Returns:
        Per run, one comparison per score that the baseline or the run has.
    """
    tests = [
        _test(pair, score, of_run, min_delta)
        for pair, of_run in zip(pairs, issues, strict=True)
        for score in scores
        if score in pair.baseline.interpretations or score in pair.run.interpretations
    ]
    compared: dict[tuple[str, str], ScoreComparison] = {}
    for is_primary in (True, False):
        family = [test for test in tests if (test.score == primary_score) is is_primary]
        p_values = [test.result.p if test.result else None for test in family]
        count = sum(p is not None for p in p_values)
        for test, p in zip(family, holm(p_values), strict=True):
            compared[test.pair.run.name, test.score] = _compared(test, p, count)
    return [
        [compared[pair.run.name, score] for score in scores if (pair.run.name, score) in compared] for pair in pairs
    ]


def _test(pair: RunPair, score: str, issues: Sequence[ComparabilityIssue], min_delta: float | None) -> _Test:
    values = [value for run in (pair.baseline, pair.run) for value in run.numbers.get(score, {}).values()]
    has_scale = pair.has_scale(score)
    width = 1.0 if has_scale else max(values, default=0.0) - min(values, default=0.0)
    pairs = list(pair.values(score).values())
    unfair = _unfair(pair, score, issues, pairs)
    result = None if unfair else compare_pairs(pairs, 1.0 if has_scale else None)
    return _Test(pair, score, pairs, (min_delta or DEFAULT_MIN_DELTA) * (width or 1.0), result, unfair)


def _unfair(pair: RunPair, score: str, issues: Sequence[ComparabilityIssue], pairs: Sequence[object]) -> str:
    issue = next((issue for issue in issues if issue.unfair and issue.score in (None, score)), None)
    if issue is not None:
        return issue.message
    for values in (pair.baseline, pair.run):
        if score not in values.interpretations:
            return f"Run {values.name!r} has no score {score!r}."
        if score not in values.numbers:
            return f"{score!r} is text, or labels without values, in {values.name!r}."
    return "" if pairs else "No item is scored in both runs."


def _compared(test: _Test, adjusted_p: float | None, tests: int) -> ScoreComparison:
    pair, score, result = test.pair, test.score, test.result
    if result is None:
        return ScoreComparison(
            score=score,
            run=pair.run.name,
            verdict="not comparable",
            reason=test.unfair or "No item is scored in both runs.",
            pairs=len(test.pairs),
            margin=test.margin,
        )
    has_scale = pair.has_scale(score)
    conclusion = conclude(result, adjusted_p, test.margin, tests)
    reasons = [conclusion.reason]
    worst_case = worst_case_delta(pair, score) if has_scale else None
    if worst_case is not None:
        reasons.append(
            "Not every shared item has a value: if all missing ones were at their worst or all at their best, the "
            f"delta would be {worst_case.low:+.3f} or {worst_case.high:+.3f}."
        )
    if (changed := script_change(pair, score)) is not None:
        reasons.append(changed)
    return ScoreComparison(
        score=score,
        run=pair.run.name,
        verdict=_verdict(conclusion.verdict, None if has_scale else pair.run.interpretations.get(score)),
        reason=" ".join(reasons),
        pairs=result.pairs,
        baseline_mean=result.first_mean,
        mean=result.second_mean,
        delta=result.delta,
        interval=result.interval,
        p=result.p,
        p_adjusted=adjusted_p,
        margin=test.margin,
        below_min_delta=conclusion.below_min_delta,
        worst_case=worst_case,
        wins=result.wins,
        losses=result.losses,
        ties=result.ties,
        newly_failing=sum(first >= PASS_MARK > second for first, second in test.pairs) if has_scale else 0,
        newly_passing=sum(second >= PASS_MARK > first for first, second in test.pairs) if has_scale else 0,
        items_needed=conclusion.items_needed,
        items_needed_for=conclusion.items_needed_for,
    )


def _verdict(verdict: PairedVerdict, measured: ScoreInterpretation | None) -> ScoreVerdict:
    """Say which direction a difference has; without a scale, whether more is better is known only if declared.

    Args:
        verdict: As if more were better.
        measured: How the score is read, if it has no scale.
    """
    lower = measured.lower_is_better if measured is not None else False
    match verdict:
        case "better":
            return "higher" if lower is None else "worse" if lower else "better"
        case "worse":
            return "lower" if lower is None else "better" if lower else "worse"
        case _:
            return verdict
