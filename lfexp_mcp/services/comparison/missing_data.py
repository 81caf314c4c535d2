"""Missing data: the results without a value that a number about a run should have, and why they have none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lfexp_mcp.model import Interval, ItemResult
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results

MissingReason = Literal["failed", "pending", "unscored", "one-sided", "left out"]
"""Why a result has no value. `left out`: its evaluator chose not to score it, so none is missing; but if it did score
the item in the other run (`one-sided`), what it left out may be just what became worse."""
MAX_MISSING_SHARE = 0.1
"""Share of missing values that a gate tolerates."""
MAX_IGNORED_SHARE = 0.02
"""Share of missing values up to which a difference needs no worst case."""


@dataclass(frozen=True, slots=True)
class MissingData:
    """How many results have a value, and how many should have one but do not."""

    noun: str
    """What is counted, such as `items`."""
    present: int
    failed: int = 0
    pending: int = 0
    unscored: int = 0
    one_sided: int = 0
    """Items scored by one run's evaluator, and left out by the other's."""
    unshared: int = 0
    """Items that one run does not have, or not with the same content, though it is about the whole dataset."""

    @property
    def total(self) -> int:
        """How many should have a value."""
        return self.present + self.failed + self.pending + self.unscored + self.one_sided + self.unshared

    @property
    def is_tolerable(self) -> bool:
        """Whether nothing is pending, and few enough values are missing for a gate to decide."""
        missing = self.total - self.present
        return self.present > 0 and not self.pending and missing <= MAX_MISSING_SHARE * self.total

    @property
    def share(self) -> str:
        """Such as `11 of 12 items`."""
        return f"{self.present} of {self.total} {self.noun}"

    @property
    def reasons(self) -> str:
        """Such as `1 failed, 2 unscored`."""
        counts = {
            "failed": self.failed,
            "pending": self.pending,
            "unscored": self.unscored,
            "given a value in one run only": self.one_sided,
            "not in both runs": self.unshared,
        }
        return ", ".join(f"{count} {why}" for why, count in counts.items() if count)


def missing_scores(values: ScoredRun, score: str) -> MissingData:
    """Count the missing values of a score's mean."""
    reasons = (
        None if values.value_of(item, score) is not None else _reason(values, item, score)
        for item in values.record.items
    )
    return _count(_noun(values), reasons, _unlisted(values))


def missing_ends(values: ScoredRun) -> MissingData:
    """Count the missing results of an error rate: those that have not ended."""
    return _count(_noun(values), map(_pending, values.record.items), _unlisted(values))


def missing_pairs(pair: RunPair, score: str) -> MissingData:
    """Count the missing pairs of a score's difference."""
    counted = _count("items", _pair_reasons(pair, score).values())
    return replace(counted, unshared=_unshared(pair, len(pair.item_ids)))


def missing_ended_pairs(pair: RunPair) -> MissingData:
    """Count the missing pairs of a difference of error rates, whether or not an item's content changed."""
    both = pair.before.keys() & pair.after.keys()
    counted = _count("items", (_pending(pair.before[item_id], pair.after[item_id]) for item_id in both))
    return replace(counted, unshared=_unshared(pair, len(both)))


def count_reasons(values: ScoredRun, score: str, item_ids: Iterable[str]) -> dict[MissingReason, int]:
    """Count why items of a run have no value of a score, the most frequent reason first."""
    results = first_results(values.record)
    return dict(Counter(_reason(values, results[item_id], score) for item_id in item_ids).most_common())


def worst_case_delta(pair: RunPair, score: str) -> Interval | None:
    """Bound the difference of a score on 0-1 over all shared items, those with missing values included.

    Source: C. Manski, American Economic Review 80 (1990) 319-323, bounds without assumptions on what is missing.

    Returns:
        The difference if every missing value were the worst for the run, and if it were the best; None if at most
        `MAX_IGNORED_SHARE` of the items miss one.
    """
    bounds = bounding_pairs(pair, score)
    total = len(bounds[0])
    if total - len(pair.values(score)) <= MAX_IGNORED_SHARE * total:
        return None
    low, high = (sum(after - before for before, after in pairs) / total for pairs in bounds)
    return Interval(low, high)


def bounding_pairs(pair: RunPair, score: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the pairs of a score on 0-1 if every missing value were the worst for the run, and if it were the best."""
    first, second = pair.baseline.numbers.get(score, {}), pair.run.numbers.get(score, {})
    shared = [item_id for item_id, why in _pair_reasons(pair, score).items() if why != "left out"]
    worst = [(first.get(item_id, 1.0), second.get(item_id, 0.0)) for item_id in shared]
    best = [(first.get(item_id, 0.0), second.get(item_id, 1.0)) for item_id in shared]
    return worst, best


def _pair_reasons(pair: RunPair, score: str) -> dict[str, MissingReason | None]:
    """Why shared items have no value in one of the runs; None for those that have one in both."""
    sides = [
        (values, results, values.numbers.get(score, {}))
        for values, results in ((pair.baseline, pair.before), (pair.run, pair.after))
    ]

    def reason(item_id: str) -> MissingReason | None:
        reasons = [
            _reason(values, results[item_id], score) for values, results, numbers in sides if item_id not in numbers
        ]
        # What failed in one run explains the pair, whatever the other's evaluator did.
        first = next((why for why in reasons if why != "left out"), None)
        return first or ("one-sided" if len(reasons) == 1 else "left out")

    have_both = pair.values(score).keys()
    return {item_id: None if item_id in have_both else reason(item_id) for item_id in pair.item_ids}


def _reason(values: ScoredRun, item: ItemResult, score: str) -> MissingReason:
    if item.status != "succeeded":
        return item.status
    # A script that failed is listed under its own name if the names of its scores are unknown.
    failed = any(missing.name == score or missing.name not in values.interpretations for missing in item.unscored)
    # A score without a number is a label that its scale has no value for.
    return "unscored" if failed or values.bare_score_of(item, score) is not None else "left out"


def _pending(*items: ItemResult) -> MissingReason | None:
    return "pending" if any(item.status == "pending" for item in items) else None


def _unshared(pair: RunPair, shared: int) -> int:
    """Count the items without a partner; what a part of the dataset leaves out by choice is not missing."""
    both = len(pair.before.keys() & pair.after.keys())
    only_before = 0 if pair.run.record.part_shown else len(pair.before) - both
    only_after = 0 if pair.baseline.record.part_shown else len(pair.after) - both
    return max(only_before, only_after) + both - shared


def _noun(values: ScoredRun) -> str:
    return "results" if len(values.record.experiment_ids) > 1 else "items"


def _unlisted(values: ScoredRun) -> int:
    """Planned results that are not known yet."""
    return max(values.record.total_items - len(values.record.items), 0)


def _count(noun: str, reasons: Iterable[MissingReason | None], pending: int = 0) -> MissingData:
    counts = Counter(reasons)
    return MissingData(
        noun,
        counts[None],
        counts["failed"],
        counts["pending"] + pending,
        counts["unscored"],
        counts["one-sided"],
    )
