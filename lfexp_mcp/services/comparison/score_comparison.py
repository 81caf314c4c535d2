"""The lines of a comparison: every score of every run against the baseline, adjusted for the others beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lfexp_mcp.answers.comparison import ComparabilityIssue, ScoreComparison, ScoreVerdict
from lfexp_mcp.model import Interval
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.services.comparison.comparability import Shared, script_change
from lfexp_mcp.services.comparison.worst_case import worst_case
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.paired import (
    DEFAULT_MIN_DELTA,
    PairedResult,
    PairedVerdict,
    compare_pairs,
    conclude,
)
from lfexp_mcp.statistics.significance import holm


@dataclass(frozen=True, slots=True)
class _Adjusted:
    """A test among others."""

    p: float | None
    tests: int
    """How many it is adjusted for, itself included."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One score of one run, before the tests are adjusted for each other."""

    score: str
    run: ScoredRun
    on_scale: bool
    margin: float
    """The smallest difference worth seeing, in the score's units."""
    pairs: list[tuple[float, float]]
    result: PairedResult | None
    worst_case: Interval | None
    """Between what the delta could be, were the items that lack a value known."""
    unfair: str | None
    """Why there is no fair comparison."""
    doubt: str | None
    """What else may have made the difference."""


def compare_scores(
    baseline: ScoredRun,
    runs: Sequence[ScoredRun],
    shared: Sequence[Shared],
    findings: Sequence[Sequence[ComparabilityIssue]],
    scores: Sequence[str],
    min_delta: float | None,
    primary_score: str | None,
) -> list[list[ScoreComparison]]:
    """Compare the scores of runs with the baseline's.

    All are tests of one family, unless a primary score is declared: it is adjusted for the number of runs alone, and
    the others among themselves (Holm).

    Args:
        baseline: The run compared with.
        runs: The other runs.
        shared: Per run, the items it shares with the baseline.
        findings: Per run, what makes the comparison unfair.
        scores: The score names to compare.
        min_delta: The smallest difference worth seeing as a share of the scale; None for the default.
        primary_score: The score that the comparison is about; None where all are alike.

    Returns:
        Per run, one line per score that the baseline or the run has.
    """
    lines = [
        [
            _line(baseline, run, score, shared[index], findings[index], min_delta)
            for score in _present(baseline, run, scores)
        ]
        for index, run in enumerate(runs)
    ]
    flat = [line for of_run in lines for line in of_run]
    adjusted = _adjust([line for line in flat if line.score == primary_score])
    adjusted |= _adjust([line for line in flat if line.score != primary_score])
    return [[_compared(line, adjusted[line.run.name, line.score]) for line in of_run] for of_run in lines]


def _adjust(family: Sequence[_Line]) -> dict[tuple[str, str], _Adjusted]:
    p_values = [line.result.p if line.result else None for line in family]
    tests = sum(p is not None for p in p_values)
    return {(line.run.name, line.score): _Adjusted(p, tests) for line, p in zip(family, holm(p_values), strict=True)}


def _present(baseline: ScoredRun, run: ScoredRun, scores: Sequence[str]) -> list[str]:
    return [score for score in scores if score in baseline.interpretations or score in run.interpretations]


def _line(
    baseline: ScoredRun,
    run: ScoredRun,
    score: str,
    shared: Shared,
    findings: Sequence[ComparabilityIssue],
    min_delta: float | None,
) -> _Line:
    first, second = baseline.numbers.get(score, {}), run.numbers.get(score, {})
    pairs = [(first[item], second[item]) for item in shared.item_ids if item in first and item in second]
    on_scale = baseline.has_scale(score) and run.has_scale(score)
    values = [*first.values(), *second.values()]
    width = 1.0 if on_scale else max(values) - min(values) if values else 0.0
    unfair = _unfair(baseline, run, score, findings, pairs)
    result = None if unfair else compare_pairs(pairs, 1.0 if on_scale else None)
    margin = (min_delta or DEFAULT_MIN_DELTA) * (width or 1.0)
    bounds = worst_case(baseline, run, score, shared.item_ids) if on_scale and result else None
    return _Line(score, run, on_scale, margin, pairs, result, bounds, unfair, script_change(baseline, run, score))


def _unfair(
    baseline: ScoredRun, run: ScoredRun, score: str, findings: Sequence[ComparabilityIssue], pairs: Sequence[object]
) -> str | None:
    found = next((finding for finding in findings if finding.unfair and finding.score in (None, score)), None)
    if found is not None:
        return found.message
    for values in (baseline, run):
        if score not in values.interpretations:
            return f"Run {values.name!r} has no score {score!r}."
        if score not in values.numbers:
            return f"{score!r} is text, or labels without values, in {values.name!r}."
    return None if pairs else "No item is scored in both runs."


def _compared(line: _Line, adjusted: _Adjusted) -> ScoreComparison:
    reading = line.run.interpretations.get(line.score)
    scale = reading.scale.name if reading and reading.scale else None
    result = line.result
    if result is None:
        return _not_comparable(line, scale)
    conclusion = conclude(result, adjusted.p, line.margin, adjusted.tests)
    failing, passing = _crossings(line.pairs) if line.on_scale else (0, 0)
    return ScoreComparison(
        score=line.score,
        run=line.run.name,
        verdict=_verdict(conclusion.verdict, on_scale=line.on_scale),
        reason=" ".join(filter(None, (conclusion.reason, _missing(line), line.doubt))),
        pairs=result.pairs,
        baseline_mean=result.first_mean,
        mean=result.second_mean,
        delta=result.delta,
        interval=result.interval,
        p=result.p,
        p_adjusted=adjusted.p,
        margin=line.margin,
        below_min_delta=conclusion.below_min_delta,
        worst_case=line.worst_case,
        method=result.method,
        wins=result.wins,
        losses=result.losses,
        ties=result.ties,
        newly_failing=failing,
        newly_passing=passing,
        items_needed=conclusion.items_needed,
        items_needed_for=conclusion.items_needed_for,
        scale=scale,
    )


def _missing(line: _Line) -> str | None:
    """Say what the items that lack a value could change."""
    if line.worst_case is None:
        return None
    low, high = line.worst_case.low, line.worst_case.high
    return (
        "Not every shared item has a value: were the missing ones all at their worst or all at their best, the delta "
        f"would be {low:+.3f} or {high:+.3f}."
    )


def _verdict(verdict: PairedVerdict, *, on_scale: bool) -> ScoreVerdict:
    """On a scale, more is better; without one nobody knows."""
    if on_scale:
        return verdict
    match verdict:
        case "better":
            return "higher"
        case "worse":
            return "lower"
        case same:
            return same


def _crossings(pairs: Sequence[tuple[float, float]]) -> tuple[int, int]:
    failing = sum(first >= PASS_MARK > second for first, second in pairs)
    passing = sum(second >= PASS_MARK > first for first, second in pairs)
    return failing, passing


def _not_comparable(line: _Line, scale: str | None) -> ScoreComparison:
    return ScoreComparison(
        score=line.score,
        run=line.run.name,
        verdict="not comparable",
        reason=line.unfair or "No item is scored in both runs.",
        pairs=len(line.pairs),
        baseline_mean=None,
        mean=None,
        delta=None,
        interval=None,
        p=None,
        p_adjusted=None,
        margin=line.margin,
        below_min_delta=False,
        worst_case=None,
        method=None,
        wins=0,
        losses=0,
        ties=0,
        newly_failing=0,
        newly_passing=0,
        items_needed=None,
        items_needed_for=None,
        scale=scale,
    )
