"""How far a judge has moved between two times, by what it gives the same outputs (anchors) at both."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from lfexp_mcp.model import Estimate
from lfexp_mcp.statistics.clusters import independent_size
from lfexp_mcp.statistics.distribution import max_unseen_share
from lfexp_mcp.statistics.proportions import tango
from lfexp_mcp.statistics.significance import CONFIDENCE


@dataclass(frozen=True, slots=True)
class Anchor:
    """One output that a judge scored then and now, all values on 0-1."""

    item: str
    """The dataset item: outputs of the same item are not independent."""
    then: float
    votes: tuple[float, ...]
    """What the judge gives it now, at least one."""
    stratum: int = 0

    @property
    def now(self) -> float:
        """The mean of the votes: its expectation does not depend on how many there are, as a majority's does."""
        return math.fsum(self.votes) / len(self.votes)


def judge_shift(anchors: Sequence[Anchor], sizes: Sequence[int]) -> Estimate:
    """Estimate how far a judge has moved over all outputs that the anchors were drawn from, now minus then.

    Anchors of a stratum count by its size: where as many failed as passed ones were drawn, a noisy judge seems to have
    moved towards the middle otherwise, since some of the drawn failed by chance alone. The interval is Student's by
    the linearised, clustered variance, and wide enough for opposite changes too rare to have been seen.

    Simulated for a judge of pass/fail that did not move, with sensitivity 0.9 and specificity 0.8 at both times, 40 and
    80 anchors of 100 to 500 outputs, 400 loops each: coverage 0.94 to 0.97, drawn at random or stratified.

    Source: W. Cochran, Sampling Techniques (3rd edition, 1977), chapter 5, for the strata; K. Liang and S. Zeger,
    Biometrika 73 (1986) 13-22, for the clusters; `max_unseen_share` for what was not seen.

    Args:
        anchors: At least two in each stratum.
        sizes: Of the strata: the outputs that their anchors stand for.

    Example:
        >>> anchors = [Anchor(f"i{n}", 0.5, (0.6 if n % 2 else 0.5,)) for n in range(40)]
        >>> round(judge_shift(anchors, [200]).value, 3)
        0.05
    """
    value, parts = _mean_and_parts(anchors, [anchor.now - anchor.then for anchor in anchors], sizes)
    return _estimate(value, parts, sizes, anchors)


def worst_case(
    estimate: Callable[[Sequence[Anchor]], Estimate], anchors: Sequence[Anchor], unread: Sequence[Anchor]
) -> Estimate:
    """Widen an estimate so that it holds whatever the judge would have said of anchors that it cannot score now.

    Args:
        estimate: Of the anchors that it is given, in which a higher vote makes a higher or a lower value.
        anchors: Those that have votes.
        unread: Those that have none.
    """
    bounds = [estimate([*anchors, *(replace(each, votes=(end,)) for each in unread)]) for end in (0.0, 1.0)]
    return Estimate(estimate(anchors).value, min(bound.low for bound in bounds), max(bound.high for bound in bounds))


def application_shift(anchors: Sequence[Anchor], sizes: Sequence[int], changes: Mapping[str, float]) -> Estimate:
    """Estimate how far the application has moved: the change of the scores less that of the judge.

    Both rest on the same outputs of the earlier run in part, which their joint variance accounts for.

    Args:
        anchors: Outputs of the earlier run; see `judge_shift`.
        sizes: See `judge_shift`.
        changes: By item of both runs: the later run's score as the judge gives it now, less the earlier's as it gave
            it then. At least two.
    """
    judged, parts = _mean_and_parts(anchors, [anchor.now - anchor.then for anchor in anchors], sizes)
    total = math.fsum(changes.values()) / len(changes)
    joint = {item: (change - total) / len(changes) for item, change in changes.items()}
    for item, part in parts.items():
        joint[item] = joint.get(item, 0.0) - part
    return _estimate(total - judged, joint, sizes, anchors)


def weighted_mean(anchors: Sequence[Anchor], values: Sequence[float], sizes: Sequence[int]) -> float:
    """Return the mean of one value per anchor over all outputs that the anchors stand for."""
    return _mean_and_parts(anchors, values, sizes)[0]


def self_disagreement(anchors: Sequence[Anchor], sizes: Sequence[int]) -> float | None:
    """Return how far two votes on the same output differ on average: of pass/fail, how often; None for single votes.

    The votes on one output tell about that output alone, so that outputs are averaged, not votes.
    """
    voted = [anchor for anchor in anchors if len(anchor.votes) > 1]
    if len(voted) < len(anchors):
        return None
    pairs = [[abs(first - second) for first, second in combinations(anchor.votes, 2)] for anchor in voted]
    return weighted_mean(voted, [math.fsum(each) / len(each) for each in pairs], sizes)


def position_bias(preferred: Sequence[tuple[str, int]]) -> Estimate:
    """Estimate how much more a pairwise judge prefers the place shown first, over pairs asked in both orders.

    A judge that changes its mind at random changes it in both directions alike, which is no bias.

    Args:
        preferred: The item of each pair, at least one; and 1 if the output shown first won in both orders, -1 if that
            shown second did, else 0.
    """
    n = len(preferred)
    first, second = (sum(place == each for _, place in preferred) for each in (1, -1))
    bias = (first - second) / n
    size = independent_size([place - bias for _, place in preferred], [item for item, _ in preferred])
    return Estimate(bias, *tango(first * size / n, second * size / n, size))


def _mean_and_parts(
    anchors: Sequence[Anchor], values: Sequence[float], sizes: Sequence[int]
) -> tuple[float, dict[str, float]]:
    """Return a mean over strata, and how far each item pulls it from there."""
    by_stratum: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for anchor, value in zip(anchors, values, strict=True):
        by_stratum[anchor.stratum].append((anchor.item, value))
    mean, parts = 0.0, dict[str, float]()
    for stratum, found in by_stratum.items():
        weight = sizes[stratum] / sum(sizes)
        own = math.fsum(value for _, value in found) / len(found)
        mean += weight * own
        for item, value in found:
            parts[item] = parts.get(item, 0.0) + weight * (value - own) / len(found)
    return mean, parts


def _estimate(value: float, parts: Mapping[str, float], sizes: Sequence[int], anchors: Sequence[Anchor]) -> Estimate:
    from scipy.stats import t as student

    differences = [anchor.now - anchor.then for anchor in anchors]
    items_of: dict[int, set[str]] = defaultdict(set)
    for anchor in anchors:
        items_of[anchor.stratum].add(anchor.item)
    clusters = len({anchor.item for anchor in anchors})
    # The items of one stratum may account for nearly all of the variance, which is then known by these alone.
    freedom = max(min(map(len, items_of.values())) - 1, 1)
    variance = math.fsum(part**2 for part in parts.values()) * clusters / max(clusters - len(items_of), 1)
    if len(sizes) > 1:
        # Strata are made by what the judge gave then. Its chance in that is the same in every draw, so it is not seen.
        variance += weighted_mean(anchors, [each**2 / 2 for each in differences], sizes) / sum(sizes)
    half = float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
    unseen = max_unseen_share(clusters, CONFIDENCE)
    below = max(half, unseen * (min(differences) + 1))
    above = max(half, unseen * (1 - max(differences)))
    return Estimate(value, max(value - below, -1.0), min(value + above, 1.0))
