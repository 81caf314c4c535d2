"""Results of a run of which some are labelled, and what they tell of the mean over all that the run stands for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfexp_mcp.model import Interval, ResultKey
from lfexp_mcp.statistics.distribution import mean_interval
from lfexp_mcp.statistics.proportions import beta_interval, wilson
from lfexp_mcp.statistics.significance import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Places = npt.NDArray[np.intp]

MIN_TUNED_LABELS = 20
"""Fewer labels do not tell how far to follow the judge, and stand alone."""
NEGLIGIBLE = 1e-12
"""A variance that comes of rounding."""
UNSEEN_ERRORS = 0.5
"""Imagined labels per stratum and combination of a low or high judge value with a low or high label, since judge errors
may be too rare to have been seen. Half a label is H. Jeffreys' prior of a proportion (Theory of Probability, 1961)."""
PASS_FAIL_VARIANCE = 1.03
"""By how much the variance of pass/fail labels is enlarged, so that at 50 and 100 labels the interval holds the truth
in at least 94% of draws at any rate and correlation of judge and people that was simulated."""


@dataclass(frozen=True, slots=True)
class DrawnResult:
    """One result of a run that could be drawn to be labelled."""

    item_id: str
    """Its item; the results of one are alike."""
    repeat: int
    judge: float | None
    """The judge's value on 0-1; one without is taken to be of the judge's average."""
    stratum: int = 0
    """The part of the run that it was drawn from, each result of a part with the same chance."""
    human: float | None = None
    """The mean of people's values on 0-1; None unless it was drawn and its label is part of the random ones."""

    @property
    def key(self) -> ResultKey:
        """What tells it from the other results of its run."""
        return self.item_id, self.repeat


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labels beside the judge's values, one entry each."""

    human: "Floats"
    judge: "Floats"
    part: "Places"
    """Stratum."""
    times: "Floats"
    """As how many labels it counts."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """Labels as a linear function of the judge, with an entry per stratum and a slope common to all."""

    slope: float
    judge: "Floats"
    """Mean of the judge's values that are labelled."""
    explains: "Floats"
    """Variance of these."""
    human: "Floats"
    """Mean of the labels."""
    spread: "Floats"
    """Variance of the labels."""
    left: "Floats"
    """The part of it that the judge does not explain."""

    def expect(self, judge: "Floats", part: "Places") -> "Floats":
        """What people give on average, where the judge gives this."""
        expected: Floats = self.human[part] + self.slope * (judge - self.judge[part])
        return expected


@dataclass(frozen=True, slots=True)
class Variance:
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
class LabelledSample:
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
    def of(cls, results: Sequence[DrawnResult]) -> "LabelledSample":
        """Read results."""
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
        """How many there are."""
        return int(self.human.size)

    @property
    def tuned(self) -> bool:
        """Whether the judge counts."""
        return self.labels >= MIN_TUNED_LABELS

    @property
    def pass_fail(self) -> bool:
        """Whether people only pass and fail results."""
        return set(self.human.tolist()) <= {0.0, 1.0}

    @property
    def weights(self) -> "Floats":
        """The share of the run that each labelled result stands for."""
        weights: Floats = (self.shares / self.counts)[self.part[self.labelled]]
        return weights

    @property
    def given(self) -> _Labels:
        """The labels there are."""
        import numpy as np

        return _Labels(self.human, self.judge[self.labelled], self.part[self.labelled], np.ones(self.labels))

    @property
    def given_and_unseen(self) -> _Labels:
        """The labels, and the imagined ones."""
        import numpy as np

        ends = (0.0, 1.0) if self.pass_fail else _halves(self.human)
        unseen = [
            (human, judge, number)
            for number in range(self.counts.size)
            for judge in _halves(self.judge[self.part == number])
            for human in ends
        ]
        human, judge, part = (np.array(column) for column in zip(*unseen, strict=True))
        given, times = self.given, np.full(len(unseen), UNSEEN_ERRORS)
        return _Labels(
            np.concatenate([given.human, human]),
            np.concatenate([given.judge, judge]),
            np.concatenate([given.part, part]),
            np.concatenate([given.times, times]),
        )

    def estimate(self, item_ids: Sequence[str]) -> tuple[float, dict[str, float], float]:
        """The corrected mean, how far each item moves it, and how much repeats that are alike add to its variance."""
        expected = self._fit(self.given).expect(self.judge, self.part)
        moves = (expected - expected.mean()) / expected.size
        moves[self.labelled] += self.weights * (self.human - expected[self.labelled])
        found: dict[str, float] = {}
        for item_id, move in zip(item_ids, moves.tolist(), strict=True):
            found[item_id] = found.get(item_id, 0.0) + move
        alone = float(moves @ moves) or 1.0
        return float(expected.mean()), found, max(math.fsum(move**2 for move in found.values()) / alone, 1.0)

    def _fit(self, labels: _Labels) -> _Fit:
        import numpy as np

        def average(values: "Floats") -> "Floats":
            summed = np.bincount(labels.part, values * labels.times)
            return np.asarray(summed / np.bincount(labels.part, labels.times), dtype=np.float64)

        human, judge = average(labels.human), average(labels.judge)
        above, over = labels.human - human[labels.part], labels.judge - judge[labels.part]
        spread, explains, common = average(above**2), average(over**2), average(above * over)
        has_slope = self.tuned and float(self.shares @ explains) > NEGLIGIBLE
        slope = float(self.shares @ common / (self.shares @ explains)) if has_slope else 0.0
        return _Fit(slope, judge, explains, human, spread, spread - 2 * slope * common + slope**2 * explains)

    def variance(self, clustered: float) -> Variance:
        """The variance of the mean, as if labels had shown judge errors that are too rare to be seen.

        That of the labels is the larger of two: what draws like this one give on average, and what this very draw
        gives, in which judge values that are labelled may be more or fewer than their share. It is never larger than
        without the judge. Degrees of freedom are those of F. Satterthwaite, Biometrics Bulletin 2 (1946) 110-114, over
        the strata. That of pass/fail labels is what this very draw gives.

        Args:
            clustered: How much larger it is for results that go together.
        """
        import numpy as np

        labels = self.given_and_unseen
        fit = self._fit(labels)
        if self.pass_fail:
            return self._pass_fail_variance(labels, fit, clustered)
        # Degrees of freedom that the strata's means and the slope have taken.
        fitted = (self.labels - 1) / (self.labels - self.counts.size - self.tuned)
        left = np.minimum(fit.left * fitted, fit.spread)
        centre = float(self.shares @ fit.human)
        spread = float(self.shares @ (fit.spread + (fit.human - centre) ** 2))
        each = self.shares**2 / self.counts
        expected, most = float(each @ left), float(each @ fit.spread)
        by_part = float((each * left) ** 2 @ (1 / (self.counts - 1)))
        freedom = expected**2 / by_part if expected > NEGLIGIBLE else self.labels - 1.0
        return Variance(
            label=clustered * self.labels * max(expected, min(self._realised(labels, fit), most)),
            judge=clustered * max(spread - float(self.shares @ left), 0.0) / self.part.size,
            spread=spread,
            centre=centre,
            freedom=max(freedom - self.tuned, 1.0),
        )

    def _pass_fail_variance(self, labels: _Labels, fit: _Fit, clustered: float) -> Variance:
        """The posterior mean and variance, where the judge passes or fails: a proportion for each of its verdicts."""
        values = fit.expect(self.judge, self.part)
        mean = float(values.mean())
        return Variance(
            label=clustered * self.labels * self._realised(labels, fit) * PASS_FAIL_VARIANCE,
            judge=clustered * float(values.var()) / values.size,
            spread=mean * (1 - mean),
            centre=mean,
            freedom=self.labels - 1.0,
        )

    def _realised(self, labels: _Labels, fit: _Fit) -> float:
        """The variance of the labels' part, given which judge values are labelled.

        Source: C.-E. Särndal, B. Swensson and J. Wretman, Model Assisted Survey Sampling (1992), chapter 6.6.
        """
        import numpy as np

        pull = np.zeros(labels.human.size)
        if fit.slope != 0:
            shift = float(self.judge.mean() - self.shares @ fit.judge) / float(self.shares @ fit.explains)
            pull = shift * (labels.judge - fit.judge[labels.part])
        weights = (self.shares / np.bincount(labels.part, labels.times))[labels.part] * (1 + pull)
        residuals = labels.human - fit.expect(labels.judge, labels.part)
        return float(labels.times @ (weights * residuals) ** 2)

    def interval(self, mean: float, variance: Variance) -> Interval:
        """The interval of the mean, which may lie beyond the scale."""
        import numpy as np
        from scipy.stats import t as student

        inside, effect = min(max(mean, 0.0), 1.0), variance.effect(self.labels)
        if self.pass_fail:
            centre = min(max(variance.centre, 0.5 / (self.labels + 1)), 1 - 0.5 / (self.labels + 1))
            posterior = beta_interval(centre, variance.label / self.labels + variance.judge)
            return Interval(min(posterior.low, inside), max(posterior.high, inside))
        z, alone = (float(student.ppf((1 + CONFIDENCE) / 2, df)) for df in (variance.freedom, self.labels - 1))
        score = Interval(inside, inside)
        if variance.spread > NEGLIGIBLE:
            # As many plain labels as would be as good, if they passed or failed.
            effective = self.labels / effect * variance.centre * (1 - variance.centre) / variance.spread
            score = wilson(inside * effective, effective, z)
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
