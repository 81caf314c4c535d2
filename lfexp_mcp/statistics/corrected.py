"""A judge's mean, corrected by people's labels of some of the results, drawn at random.

The corrected mean estimates what people would give on average. The labels tell what the judge is worth, and the judge
tells how the results without a label differ from those that have one. What is left of a judge that says nothing about
the labels is the mean of the labels; a biased judge is corrected. As with the mean of a score, intervals are about all
the items that those of the run stand for, not only about these.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lfexp_mcp.model import Interval
from lfexp_mcp.statistics.labelled_sample import DrawnResult, LabelledSample
from lfexp_mcp.statistics.significance import Z95

MIN_LABELS = 10
"""Fewer labels correct nothing."""
MIN_STRATUM_LABELS = 2
"""A single label of a stratum shows no variance."""


@dataclass(frozen=True, slots=True)
class CorrectedMean:
    """A judge's mean, corrected by labels."""

    mean: float
    interval: Interval
    labels: int
    results: int
    label_variance: float
    """What the labels contribute to the variance of the mean, times `labels`."""
    judge_variance: float
    """What the results contribute, however many are labelled."""
    influence: dict[str, float]
    """How far each item moves the mean."""

    def labels_needed(self, half_width: float) -> int | None:
        """Labels for an interval of `half_width` to each side; None if labels of all results would not do."""
        return _labels_needed([self], self.interval, half_width)


@dataclass(frozen=True, slots=True)
class CorrectedDelta:
    """The difference of two corrected means, second minus first."""

    delta: float
    interval: Interval
    """Not adjusted for other tests."""
    first: CorrectedMean
    second: CorrectedMean

    def labels_needed(self, half_width: float) -> int | None:
        """Labels of each run for an interval of `half_width` to each side; None if labels of all would not do."""
        return _labels_needed([self.first, self.second], self.interval, half_width)


def correct_mean(results: Sequence[DrawnResult]) -> CorrectedMean | None:
    """Correct a judge's mean by the labels among its results.

    Prediction-powered inference with the tuning that makes it the regression estimator of two-phase sampling; for a
    judge that passes or fails, that is post-stratification by its verdict. The interval of pass/fail labels is that of
    a Bayesian posterior, with Jeffreys' prior for the people's pass rate beside each verdict of the judge. That of
    others is the labels' own, narrowed as far as the judge explains them. Repeats of an item are a cluster.

    Simulated for 500 results of which 50 or 100 are labelled. Pass/fail, with rates of 0.5 to 0.95, judges that pass up
    to 0.3 less or 0.15 more, and correlations of -0.3 to 0.93 (776 kinds of 10,000 runs): coverage 0.943 and more; the
    width at most 1.03 of that of the labels alone, at most 0.85 at a correlation of 0.65 and 0.69 at 0.85. Numbers
    (17 kinds of 300 runs): coverage 0.93 and more, but 0.90 where a good judge overlooks that 3% of the results fail
    and 50 are labelled; labels alone then give 0.93 (`python -m tests.benchmarks correction`).

    Source: A. Angelopoulos, J. Duchi and T. Zrnic, PPI++ (2023), arXiv 2311.01453; W. Cochran, Sampling Techniques
    (1977), chapter 12, for regression and its variance; for posteriors of proportions L. Brown, T. Cai and A. DasGupta,
    Statistical Science 16 (2001) 101-133; for numbers N. Dean and M. Pagano, Journal of Survey Statistics and
    Methodology 3 (2015) 484-503, Wilson's interval at an effective sample size.

    Args:
        results: All results of the run that could be drawn.

    Returns:
        None for fewer than `MIN_LABELS` labels, or fewer than `MIN_STRATUM_LABELS` in a stratum.
    """
    sample = LabelledSample.of(results)
    if sample.labels < MIN_LABELS or sample.counts.min() < MIN_STRATUM_LABELS:
        return None
    mean, influence, clustered = sample.estimate([one.item_id for one in results])
    variance = sample.variance(clustered)
    return CorrectedMean(
        mean=min(max(mean, 0.0), 1.0),
        interval=sample.interval(mean, variance),
        labels=sample.labels,
        results=len(results),
        label_variance=variance.label,
        judge_variance=variance.judge,
        influence=influence,
    )


def correct_delta(first: CorrectedMean, second: CorrectedMean) -> CorrectedDelta:
    """Subtract the corrected means of two runs over the same items.

    Results of the same items, labelled in both runs or not, make the two means move together, which narrows the
    interval.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10, and G. Zou and A. Donner, Statistics
    in Medicine 27 (2008) 1693-1702, for other estimates than proportions.
    """
    shared = first.influence.keys() & second.influence.keys()
    together = math.fsum(first.influence[item_id] * second.influence[item_id] for item_id in shared)
    # The cosine of what each item does to both means is their correlation.
    alone = math.sqrt(_square(first.influence.values()) * _square(second.influence.values()))
    correlation = max(min(together / alone, 1.0), -1.0) if alone > 0 else 0.0
    delta = second.mean - first.mean

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0.0))

    below = distance(second.mean - second.interval.low, first.interval.high - first.mean)
    above = distance(second.interval.high - second.mean, first.mean - first.interval.low)
    return CorrectedDelta(delta, Interval(max(delta - below, -1.0), min(delta + above, 1.0)), first, second)


def _square(values: Iterable[float]) -> float:
    return math.fsum(value**2 for value in values)


def _labels_needed(means: Sequence[CorrectedMean], interval: Interval, half_width: float) -> int | None:
    judged = sum(one.judge_variance for one in means)
    normal = Z95 * math.sqrt(sum(one.label_variance / one.labels for one in means) + judged)
    # The interval is not a normal one, so that more labels are taken to narrow it by the same factor.
    factor = normal / ((interval.high - interval.low) / 2) if interval.high > interval.low else 1.0
    remaining = (half_width * factor / Z95) ** 2 - judged
    if remaining <= 0:
        return None
    needed = math.ceil(sum(one.label_variance for one in means) / remaining)
    return needed if needed <= min(one.results for one in means) else None
