"""A judge's mean, corrected by people's labels of some of the results, drawn at random.

The corrected mean estimates what people would give on average. The labels tell what the judge is worth, and the judge
tells how the results without a label differ from those that have one. What is left of a judge that says nothing about
the labels is the mean of the labels; a biased judge is corrected. As with the mean of a score, intervals are about all
the items that those of the run stand for, not only about these.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lfexp_mcp.model import Interval
from lfexp_mcp.statistics.distribution import mean_interval
from lfexp_mcp.statistics.proportions import wilson
from lfexp_mcp.statistics.significance import CONFIDENCE, Z95

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Places = npt.NDArray[np.intp]

MIN_LABELS = 10
"""Fewer labels correct nothing."""
MIN_TUNED_LABELS = 20
"""Fewer labels do not tell how far to follow the judge, and stand alone."""
MIN_STRATUM_LABELS = 2
NEGLIGIBLE = 1e-12
"""A variance that comes of rounding."""
UNSEEN_ERRORS = 0.75
"""Imagined labels per combination of a low or high judge value with a low or high label, since judge errors may be too
rare to have been seen. With half a label, the lowest coverage of the simulation is 0.934 instead of 0.941."""


class Judged(Protocol):
    """One result of a run: what the judge gave it and, if it was drawn and labelled, what people did, both on 0-1."""

    @property
    def item_id(self) -> str:
        """Its item; the results of one are alike."""

    @property
    def judge(self) -> float | None:
        """None where the judge gave nothing; the result then counts as one of the judge's average."""

    @property
    def human(self) -> float | None:
        """None without a label."""

    @property
    def stratum(self) -> int:
        """The part of the run that it was drawn from, each result of a part with the same chance."""


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
        return _labels_needed([self], half_width)


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
        return _labels_needed([self.first, self.second], half_width)


def correct_mean(results: Sequence[Judged]) -> CorrectedMean | None:
    """Correct a judge's mean by the labels among its results.

    Prediction-powered inference with the tuning that makes it the regression estimator of two-phase sampling; for a
    judge that passes or fails, that is post-stratification by its verdict. The interval of pass/fail labels is Wilson's
    for as many labels as would be as good without the judge; that of others is the labels' own, narrowed as far as the
    judge explains them. Repeats of an item are a cluster.

    Simulated for 500 results of which 50 or 100 are labelled. Pass/fail, with rates of 0.5 to 0.95, judges that pass up
    to 0.3 less or 0.15 more, and correlations of -0.3 to 0.93 (670 kinds of 10,000 runs): coverage 0.941 and more; the
    width at most 1.03 of that of the labels alone, on average 0.84 at a correlation of 0.65 and 0.70 at 0.85. Numbers
    (17 kinds of 400 runs): coverage 0.94 and more, but 0.91 where a good judge overlooks that 3% of the results fail
    and 50 are labelled; labels alone then give 0.93.

    Source: A. Angelopoulos, J. Duchi and T. Zrnic, PPI++ (2023), arXiv 2311.01453; W. Cochran, Sampling Techniques
    (1977), chapter 12, for regression and its variance; N. Dean and M. Pagano, Journal of Survey Statistics and
    Methodology 3 (2015) 484-503, for Wilson's interval at an effective sample size.

    Args:
        results: All results of the run that could be drawn.

    Returns:
        None for fewer than `MIN_LABELS` labels, or fewer than `MIN_STRATUM_LABELS` in a stratum.
    """
    sample = _Sample.of(results)
    if sample.labels < MIN_LABELS or sample.counts.min() < MIN_STRATUM_LABELS:
        return None
    fit = sample.fit(sample.human, sample.judge[sample.labelled], sample.part[sample.labelled])
    expected = fit.human[sample.part] + fit.slope * (sample.judge - fit.judge[sample.part])
    mean = float(expected.mean())
    influence, clustered = sample.influence([one.item_id for one in results], expected)
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
    alone = math.sqrt(_square(first.influence.values()) * _square(second.influence.values()))
    correlation = max(min(together / alone, 1.0), -1.0) if alone > 0 else 0.0
    delta = second.mean - first.mean

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0.0))

    below = distance(second.mean - second.interval.low, first.interval.high - first.mean)
    above = distance(second.interval.high - second.mean, first.mean - first.interval.low)
    return CorrectedDelta(delta, Interval(max(delta - below, -1.0), min(delta + above, 1.0)), first, second)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Labels as a linear function of the judge, with an entry per stratum and a slope common to all."""

    slope: float
    judge: "Floats"
    """Mean of the judge's values that are labelled."""
    human: "Floats"
    """Mean of the labels."""
    spread: "Floats"
    """Variance of the labels."""
    left: "Floats"
    """The part of it that the judge does not explain."""


@dataclass(frozen=True, slots=True)
class _Variance:
    """Variance of a corrected mean."""

    label: float
    """What the labels contribute, times their number."""
    judge: float
    """What the results contribute, however many are labelled."""
    spread: float
    """Variance of a single label."""
    centre: float
    """The mean that it is about."""
    freedom: float
    """Degrees of freedom."""

    def effect(self, labels: int) -> float:
        """Variance of the corrected mean relative to that of the labels' own."""
        return (self.label + labels * self.judge) / self.spread if self.spread > NEGLIGIBLE else 1.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """A run's results, some of them labelled."""

    part: "Places"
    """Stratum of each result."""
    judge: "Floats"
    labelled: "Places"
    human: "Floats"
    """Of the labelled results."""
    shares: "Floats"
    """Of the results, per stratum."""
    counts: "Places"
    """Labels per stratum."""

    @classmethod
    def of(cls, results: Sequence[Judged]) -> "_Sample":
        import numpy as np

        _, part = np.unique([one.stratum for one in results], return_inverse=True)
        labelled = np.flatnonzero([one.human is not None for one in results])
        known = [one.judge for one in results if one.judge is not None]
        average = math.fsum(known) / len(known) if known else 0.0
        sizes = np.bincount(part)
        return cls(
            part=part,
            judge=np.array([average if one.judge is None else one.judge for one in results]),
            labelled=labelled,
            human=np.array([one.human for one in results if one.human is not None]),
            shares=sizes / max(len(results), 1),
            counts=np.bincount(part[labelled], minlength=max(sizes.size, 1)),
        )

    @property
    def labels(self) -> int:
        return int(self.human.size)

    @property
    def tuned(self) -> bool:
        return self.labels >= MIN_TUNED_LABELS

    @property
    def pass_fail(self) -> bool:
        return set(self.human.tolist()) <= {0.0, 1.0}

    @property
    def weights(self) -> "Floats":
        """The share of the run that each labelled result stands for."""
        weights: Floats = (self.shares / self.counts)[self.part[self.labelled]]
        return weights

    def fit(self, human: "Floats", judge: "Floats", part: "Places", times: "Floats | None" = None) -> _Fit:
        """Fit labels that count `times` within their strata, once if it is not given."""
        import numpy as np

        def average(values: "Floats") -> "Floats":
            weighted = values if times is None else values * times
            return np.asarray(np.bincount(part, weighted) / np.bincount(part, times), dtype=np.float64)

        means, judged = average(human), average(judge)
        above, over = human - means[part], judge - judged[part]
        spread, explains, common = average(above**2), average(over**2), average(above * over)
        has_slope = self.tuned and float(self.shares @ explains) > NEGLIGIBLE
        slope = float(self.shares @ common / (self.shares @ explains)) if has_slope else 0.0
        return _Fit(slope, judged, means, spread, spread - 2 * slope * common + slope**2 * explains)

    def influence(self, item_ids: Sequence[str], expected: "Floats") -> tuple[dict[str, float], float]:
        """How far each item moves the mean from what the fit expects; how much repeats that are alike add to that."""
        moves = (expected - expected.mean()) / expected.size
        moves[self.labelled] += self.weights * (self.human - expected[self.labelled])
        found: dict[str, float] = {}
        for item_id, move in zip(item_ids, moves.tolist(), strict=True):
            found[item_id] = found.get(item_id, 0.0) + move
        return found, max(_square(found.values()) / (_square(moves) or 1.0), 1.0)

    def variance(self, clustered: float) -> _Variance:
        """The variance of the mean, as if labels had shown judge errors that are too rare to be seen.

        Degrees of freedom are those of F. Satterthwaite, Biometrics Bulletin 2 (1946) 110-114, over the strata.

        Args:
            clustered: How much larger it is for results that go together.
        """
        import numpy as np

        ends = (0.0, 1.0) if self.pass_fail else _halves(self.human)
        unseen = [
            (human, judge, number)
            for number in range(self.counts.size)
            for judge in _halves(self.judge[self.part == number])
            for human in ends
        ]
        humans, judges, parts = (np.array(column) for column in zip(*unseen, strict=True))
        fit = self.fit(
            np.concatenate([self.human, humans]),
            np.concatenate([self.judge[self.labelled], judges]),
            np.concatenate([self.part[self.labelled], parts]),
            np.concatenate([np.ones(self.labels), np.full(humans.size, UNSEEN_ERRORS / self.counts.size)]),
        )
        fitted = (self.labels - 1) / (self.labels - self.counts.size - self.tuned)
        left = np.minimum(fit.left * fitted, fit.spread)
        centre = float(self.shares @ fit.human)
        spread = float(self.shares @ (fit.spread + (fit.human - centre) ** 2))
        parts_of_it = self.shares**2 / self.counts * left
        total = float(parts_of_it.sum())
        freedom = (
            total**2 / float((parts_of_it**2 / (self.counts - 1)).sum()) if total > NEGLIGIBLE else self.labels - 1
        )
        return _Variance(
            label=clustered * self.labels * total,
            judge=clustered * max(spread - float(self.shares @ left), 0.0) / self.part.size,
            spread=spread,
            centre=centre,
            freedom=max(freedom - self.tuned, 1.0),
        )

    def interval(self, mean: float, variance: _Variance) -> Interval:
        """The interval of the mean, which may lie beyond the scale."""
        import numpy as np
        from scipy.stats import t as student

        inside, effect = min(max(mean, 0.0), 1.0), variance.effect(self.labels)
        z, alone = (float(student.ppf((1 + CONFIDENCE) / 2, df)) for df in (variance.freedom, self.labels - 1))
        score = Interval(inside, inside)
        if variance.spread > NEGLIGIBLE:
            # As many plain labels as would be as good, if they passed or failed.
            effective = self.labels / effect * variance.centre * (1 - variance.centre) / variance.spread
            score = wilson(inside * effective, effective, z)
        if self.pass_fail:
            return score
        # The values that as many labels of equal weight would have.
        order = np.argsort(self.human)
        places = np.searchsorted(np.cumsum(self.weights[order]), (np.arange(self.labels) + 0.5) / self.labels)
        values = self.human[order][places].tolist()
        plain, middle = mean_interval(values, 1.0) or Interval(0.0, 1.0), math.fsum(values) / len(values)
        scale = math.sqrt(effect) * z / alone
        low, high = mean - scale * (middle - plain.low), mean + scale * (plain.high - middle)
        return Interval(max(min(low, score.low), 0.0), min(max(high, score.high), 1.0))


def _halves(values: "Floats") -> tuple[float, float]:
    """The mean of the values below their mean, and that of the others; 0 and 1 for both among zeros and ones."""
    mean = values.mean()
    low, high = values[values < mean], values[values >= mean]
    return float(low.mean() if low.size else mean), float(high.mean() if high.size else mean)


def _square(values: Iterable[float]) -> float:
    return math.fsum(value**2 for value in values)


def _labels_needed(means: Sequence[CorrectedMean], half_width: float) -> int | None:
    remaining = (half_width / Z95) ** 2 - sum(one.judge_variance for one in means)
    if remaining <= 0:
        return None
    needed = math.ceil(sum(one.label_variance for one in means) / remaining)
    return needed if needed <= min(one.results for one in means) else None
