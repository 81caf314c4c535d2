"""Kinds of items that do worse: each value of each categorical metadata key against the rest of the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import SliceResult, SliceVerdict
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results
from lfexp_mcp.statistics.significance import ALPHA, holm
from lfexp_mcp.statistics.subgroups import SubgroupDifference, compare_with_rest

MAX_CATEGORIES = 20
"""A metadata key with more distinct values is not categorical."""
MIN_ITEMS_PER_VALUE = 2
"""Nor is one whose values have fewer items on average, such as an id."""
MAX_LABEL_CHARS = 80


@dataclass(frozen=True, slots=True)
class _Slice:
    """The items that share a metadata value."""

    key: str
    value: str
    item_ids: frozenset[str]


def slice_run(values: ScoredRun, scores: Sequence[str]) -> list[SliceResult]:
    """Compare the items of each metadata value with the rest.

    Args:
        values: The run.
        scores: The scores to compare.

    Returns:
        One result per slice and score with items on both sides, those shown to be worse first, then by difference.
    """
    slices = list(_slices(values))
    places = {score: _places(values.numbers.get(score, {}), slices) for score in scores}
    tests = sum(len(groups) for groups in places.values())
    compared = [
        (piece, score, len(group), result)
        for score, groups in places.items()
        for (piece, group), result in zip(groups, _compare(values, score, groups, tests), strict=True)
    ]
    adjusted = holm([result.p for _, _, _, result in compared])
    results = [
        _result(piece, score, count, result, p, on_scale=values.has_scale(score))
        for (piece, score, count, result), p in zip(compared, adjusted, strict=True)
    ]
    return sorted(results, key=_rank)


def _places(numbers: Mapping[str, float], slices: Sequence[_Slice]) -> list[tuple[_Slice, list[int]]]:
    """The slices with items on both sides, with the indices of their items among a score's numbers."""
    found = [(piece, [place for place, item_id in enumerate(numbers) if item_id in piece.item_ids]) for piece in slices]
    return [(piece, group) for piece, group in found if 0 < len(group) < len(numbers)]


def _compare(
    values: ScoredRun, score: str, groups: Sequence[tuple[_Slice, list[int]]], tests: int
) -> list[SubgroupDifference]:
    if not groups:
        return []
    width = 1.0 if values.has_scale(score) else None
    return compare_with_rest(list(values.numbers[score].values()), [group for _, group in groups], width, tests)


_ORDER: tuple[SliceVerdict, ...] = (
    "worse than the rest",
    "lower than the rest",
    "higher than the rest",
    "not shown to differ",
    "better than the rest",
    "too few items",
)


def _rank(result: SliceResult) -> tuple[int, float, str, str, str]:
    return (_ORDER.index(result.verdict), result.delta, result.key, result.value, result.score)


def _result(
    piece: _Slice, score: str, count: int, result: SubgroupDifference, p: float | None, *, on_scale: bool
) -> SliceResult:
    return SliceResult(
        key=piece.key,
        value=piece.value,
        score=score,
        count=count,
        mean=result.mean,
        rest_mean=result.rest_mean,
        delta=result.delta,
        interval=result.interval,
        p_adjusted=p,
        verdict=_verdict(result, p, on_scale=on_scale),
    )


def _verdict(result: SubgroupDifference, p: float | None, *, on_scale: bool) -> SliceVerdict:
    """Without a scale, it is unknown whether more is better."""
    if p is None:
        return "too few items"
    if p >= ALPHA or (result.interval is not None and not result.interval.excludes_zero):
        return "not shown to differ"
    if on_scale:
        return "worse than the rest" if result.delta < 0 else "better than the rest"
    return "lower than the rest" if result.delta < 0 else "higher than the rest"


def _slices(values: ScoredRun) -> Iterator[_Slice]:
    by_key: dict[str, dict[str, set[str]]] = {}
    for item_id, item in first_results(values.record).items():
        for key, value in _labels(item.metadata):
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
            yield from _labels(value, f"{name}.")
        elif isinstance(value, list):
            yield from ((name, entry) for entry in value if isinstance(entry, str) and len(entry) <= MAX_LABEL_CHARS)
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int) and 0 < len(str(value)) <= MAX_LABEL_CHARS:
            yield name, str(value)
