"""How the scores of a run are distributed, how they correlate, and which kinds of items do worse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import ScoreCorrelation, ScoreDistribution, SliceResult, SliceVerdict
from lfexp_mcp.answers.run import ScoreSummary
from lfexp_mcp.model import SOURCE_KEY
from lfexp_mcp.scores.limits import is_below
from lfexp_mcp.services.labels import Labels
from lfexp_mcp.services.labels.correction import describe_corrected_mean
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results
from lfexp_mcp.statistics.agreement import spearman
from lfexp_mcp.statistics.distribution import are_pass_fail, histogram, mean_interval, quantiles
from lfexp_mcp.statistics.paired import DEFAULT_MIN_DELTA
from lfexp_mcp.statistics.significance import ALPHA, holm
from lfexp_mcp.statistics.subgroups import SubgroupDifference, compare_with_rest

MIN_CORRELATION = 0.3
"""Weaker ones are not worth a line, even where they are more than chance."""
MIN_PAIRS = 10
"""Correlations of fewer pairs say next to nothing."""
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
MAX_CATEGORIES = 20
"""A metadata key with more distinct values is not categorical."""
MIN_ITEMS_PER_VALUE = 2
"""Nor is one whose values have fewer items on average, such as an id."""
MAX_LABEL_CHARS = 80
SHOWN_TO_DIFFER: frozenset[SliceVerdict] = frozenset({"worse", "better", "lower", "higher"})
_ORDER: tuple[SliceVerdict, ...] = (
    "worse",
    "lower",
    "higher",
    "not shown to differ",
    "better",
    "too few items",
)


def describe_distribution(
    summary: ScoreSummary, values: ScoredRun, threshold: float, labels: Labels | None
) -> ScoreDistribution:
    """Describe the distribution of one score.

    Args:
        threshold: On 0-1.
        labels: Those that people gave to drawn results, if any were drawn.
    """
    # Each repeat of an item separately.
    each = (values.value_of(item, summary.name) for item in values.record.items)
    numbers = [number for number in each if number is not None]
    on_scale = values.has_scale(summary.name)
    interval = mean_interval(list(values.numbers.get(summary.name, {}).values()), 1.0 if on_scale else None)
    low, high = (0.0, 1.0) if on_scale else (min(numbers, default=0.0), max(numbers, default=0.0))
    # Of values that only pass or fail, the mean says it all.
    varied = bool(numbers) and not are_pass_fail(numbers, 1.0 if on_scale else None)
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


@dataclass(frozen=True, slots=True)
class _Slice:
    """The items that share a metadata value."""

    key: str
    value: str
    item_ids: frozenset[str]


def slice_run(values: ScoredRun, scores: Sequence[str]) -> list[SliceResult]:
    """Compare the items of each metadata value with the rest.

    Args:
        scores: The scores to compare.

    Returns:
        One result per slice and score with items on both sides, those shown to be worse first, then by difference.
    """
    slices = list(_slices(values))
    groups = {score: _groups(values.numbers.get(score, {}), slices) for score in scores}
    tests = sum(map(len, groups.values()))
    compared: list[tuple[_Slice, str, int, SubgroupDifference]] = []
    for score, of_score in groups.items():
        if of_score:
            numbers, width = list(values.numbers[score].values()), 1.0 if values.has_scale(score) else None
            differences = compare_with_rest(numbers, [indices for _, indices in of_score], width, tests)
            compared += [
                (piece, score, len(indices), difference)
                for (piece, indices), difference in zip(of_score, differences, strict=True)
            ]
    adjusted = holm([difference.p for _, _, _, difference in compared])
    results = [
        SliceResult(
            key=piece.key,
            value=piece.value,
            score=score,
            count=count,
            mean=difference.mean,
            rest_mean=difference.rest_mean,
            delta=difference.delta,
            interval=difference.interval,
            p_adjusted=p,
            verdict=_verdict(difference, p, _lower_is_better(values, score)),
        )
        for (piece, score, count, difference), p in zip(compared, adjusted, strict=True)
    ]

    def order(one: SliceResult) -> tuple[int, float, str, str, str]:
        gain = -one.delta if _lower_is_better(values, one.score) else one.delta
        return _ORDER.index(one.verdict), gain, one.key, one.value, one.score

    return sorted(results, key=order)


def _lower_is_better(values: ScoredRun, score: str) -> bool | None:
    """Whether lower values are better; never on a scale, whose values are turned round. None if that is not known."""
    return False if values.has_scale(score) else values.interpretations[score].lower_is_better


def _groups(numbers: Mapping[str, float], slices: Sequence[_Slice]) -> list[tuple[_Slice, list[int]]]:
    """The slices with items on both sides, with the indices of their items among a score's numbers."""
    found = [(piece, [index for index, item_id in enumerate(numbers) if item_id in piece.item_ids]) for piece in slices]
    return [(piece, indices) for piece, indices in found if 0 < len(indices) < len(numbers)]


def _verdict(difference: SubgroupDifference, p: float | None, lower_is_better: bool | None) -> SliceVerdict:
    if p is None:
        return "too few items"
    if p >= ALPHA or (difference.interval is not None and not difference.interval.excludes_zero):
        return "not shown to differ"
    is_lower = difference.delta < 0
    if lower_is_better is None:
        return "lower" if is_lower else "higher"
    return "better" if is_lower is lower_is_better else "worse"


def _slices(values: ScoredRun) -> Iterator[_Slice]:
    by_key: dict[str, dict[str, set[str]]] = {}
    for item_id, item in first_results(values.record).items():
        # Where an item came from, and what was answered there, says nothing about the kind of item.
        for key, value in _labels({key: value for key, value in item.metadata.items() if key != SOURCE_KEY}):
            by_key.setdefault(key, {}).setdefault(value, set()).add(item_id)
    for key, members in sorted(by_key.items()):
        if _is_category(members):
            for value, item_ids in sorted(members.items()):
                yield _Slice(key, value, frozenset(item_ids))


def _is_category(members: Mapping[str, set[str]]) -> bool:
    labelled = sum(len(item_ids) for item_ids in members.values())
    return len(members) <= MAX_CATEGORIES and labelled >= MIN_ITEMS_PER_VALUE * len(members)


def _labels(metadata: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(key, value) of the metadata's short values; nested keys are joined by dots, each entry of a list is a value."""
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            # A longer name would be of no use, and metadata may be nested without end.
            yield from _labels(value, f"{name}.") if len(name) < MAX_LABEL_CHARS else ()
        elif isinstance(value, list):
            yield from ((name, entry) for entry in value if isinstance(entry, str) and len(entry) <= MAX_LABEL_CHARS)
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int) and 0 < len(str(value)) <= MAX_LABEL_CHARS:
            yield name, str(value)
