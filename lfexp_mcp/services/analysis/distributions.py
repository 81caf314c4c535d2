"""How the scores of a run are distributed, and how they correlate."""

from collections.abc import Sequence
from itertools import combinations

from lfexp_mcp.answers.analysis import ScoreCorrelation, ScoreDistribution
from lfexp_mcp.answers.run import ScoreSummary
from lfexp_mcp.scores.limits import is_below
from lfexp_mcp.services.labels import Labels
from lfexp_mcp.services.labels.correction import describe_corrected_mean
from lfexp_mcp.services.runs.scored_run import ScoredRun, number_of
from lfexp_mcp.statistics.agreement import spearman
from lfexp_mcp.statistics.distribution import histogram, mean_interval, quantiles
from lfexp_mcp.statistics.paired import DEFAULT_MIN_DELTA
from lfexp_mcp.statistics.significance import ALPHA

MIN_CORRELATION = 0.3
"""Weaker ones are not worth a line, even where they are more than chance."""
MIN_PAIRS = 10
"""Correlations of fewer pairs say next to nothing."""
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def describe_distribution(
    summary: ScoreSummary, values: ScoredRun, threshold: float, labels: Labels | None
) -> ScoreDistribution:
    """Describe the distribution of one score.

    Args:
        threshold: On 0-1.
        labels: Those that people gave to drawn results, if any were drawn.
    """
    numbers = _numbers(values, summary.name)
    on_scale = values.has_scale(summary.name)
    interval = mean_interval(list(values.numbers.get(summary.name, {}).values()), 1.0 if on_scale else None)
    low, high = (0.0, 1.0) if on_scale else (min(numbers, default=0.0), max(numbers, default=0.0))
    # Of values that only pass or fail, the mean says it all.
    varied = bool(set(numbers) - {0.0, 1.0})
    return ScoreDistribution(
        name=summary.name,
        mean=summary.mean,
        display=summary.display,
        interval=interval,
        count=summary.count,
        unscored=summary.unscored,
        quantiles=dict(zip(QUANTILES, quantiles(numbers, list(QUANTILES.values())), strict=True)) if varied else {},
        histogram=histogram(numbers, low, high) if varied else [],
        failing=sum(is_below(number, threshold) for number in numbers) if on_scale else None,
        corrected=describe_corrected_mean(labels, DEFAULT_MIN_DELTA) if labels is not None else None,
    )


def _numbers(values: ScoredRun, name: str) -> list[float]:
    """The score's numbers over all results, each repeat of an item separately."""
    if name not in values.interpretations:
        return []
    scores = (values.bare_score_of(item, name) for item in values.record.items)
    numbers = (number_of(score, values.interpretations[name]) for score in scores if score is not None)
    return [number for number in numbers if number is not None]


def correlate_scores(values: ScoredRun, scores: Sequence[str]) -> list[ScoreCorrelation]:
    """Correlate every two scores; return the correlations that are more than chance and strong enough to matter.

    The interval of each is at the level of all together.

    Returns:
        The strongest first.
    """
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for first, second in combinations([name for name in scores if name in values.numbers], 2):
        one, other = values.numbers[first], values.numbers[second]
        shared = sorted(one.keys() & other.keys())
        if len(shared) >= MIN_PAIRS:
            pairs[first, second] = [(one[item_id], other[item_id]) for item_id in shared]
    found = []
    for (first, second), numbers in pairs.items():
        # Of many unrelated scores, some go together by chance: Bonferroni's level, for the interval as well.
        result = spearman(numbers, 1 - ALPHA / len(pairs))
        rho, interval = result.value, result.interval
        if rho is not None and abs(rho) >= MIN_CORRELATION and (interval is None or interval.excludes_zero):
            correlation = ScoreCorrelation(first=first, second=second, pairs=len(numbers), rho=rho, interval=interval)
            found.append(correlation)
    return sorted(found, key=lambda one: -abs(one.rho))
