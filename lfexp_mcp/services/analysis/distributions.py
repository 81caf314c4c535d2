"""How the scores of a run are spread, and how they go together."""

from collections.abc import Sequence
from itertools import combinations

from lfexp_mcp.answers.analysis import HistogramBin, ScoreCorrelation, ScoreDistribution
from lfexp_mcp.answers.run import ScoreSummary
from lfexp_mcp.services.intervals import as_range
from lfexp_mcp.services.runs.scored_run import ScoredRun, number_of
from lfexp_mcp.statistics.correlation import spearman
from lfexp_mcp.statistics.distribution import QUANTILES, histogram, mean_interval, quantile


def describe_distribution(summary: ScoreSummary, values: ScoredRun, threshold: float) -> ScoreDistribution:
    """Describe the spread of one score; the threshold is on 0-1."""
    numbers = _numbers(values, summary.name)
    on_scale = values.has_scale(summary.name)
    interval = mean_interval(list(values.numbers.get(summary.name, {}).values()), 1.0 if on_scale else None)
    low, high = (0.0, 1.0) if on_scale else (min(numbers, default=0.0), max(numbers, default=0.0))
    bins = histogram(numbers, low, high) if numbers else []
    return ScoreDistribution(
        **summary.model_dump(),
        interval=as_range(interval),
        quantiles={f"p{share * 100:g}": quantile(numbers, share) for share in QUANTILES} if numbers else {},
        histogram=[HistogramBin(low=one.low, high=one.high, count=one.count) for one in bins],
        threshold=threshold if on_scale else None,
        failing=sum(number < threshold for number in numbers) if on_scale else 0,
    )


def _numbers(values: ScoredRun, name: str) -> list[float]:
    """The score's numbers over all results, repeats of an item each."""
    if name not in values.interpretations:
        return []
    scores = (values.score_of(item, name) for item in values.record.items)
    numbers = (number_of(score, values.interpretations[name]) for score in scores if score is not None)
    return [number for number in numbers if number is not None]


def correlate_scores(values: ScoredRun, scores: Sequence[str]) -> list[ScoreCorrelation]:
    """How every two scores go together, the strongest first."""
    found = []
    for first, second in combinations([name for name in scores if name in values.numbers], 2):
        one, other = values.numbers[first], values.numbers[second]
        result = spearman([(one[item_id], other[item_id]) for item_id in sorted(one.keys() & other.keys())])
        if result.rho is not None:
            interval = as_range(result.interval)
            found.append(
                ScoreCorrelation(first=first, second=second, pairs=result.pairs, rho=result.rho, interval=interval)
            )
    return sorted(found, key=lambda one: -abs(one.rho))
