"""How much of a run a number stands for: the results that have a value, and why the others have none."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lfexp_mcp.model import ItemResult
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results

Lack = Literal["failed", "pending", "unscored", "one-sided", "left out"]
"""Why there is no value. One that its evaluator left out on purpose is none that should be there, unless the same item
has one in the other run: what an evaluator chose not to score may be what became worse."""
MOST_LACKING = 0.1
"""Share of results without a value up to which a number stands for its run."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The results with a value among those that should have one."""

    noun: str
    """What is counted, such as `items`."""
    have: int
    failed: int = 0
    pending: int = 0
    unscored: int = 0
    one_sided: int = 0
    """Items that one run's evaluator scored, and the other's left out."""
    unshared: int = 0
    """Items of the larger run that the other does not have with the same content."""

    @property
    def of(self) -> int:
        """How many should have a value."""
        return self.have + self.failed + self.pending + self.unscored + self.one_sided + self.unshared

    @property
    def is_enough(self) -> bool:
        """Whether all results are there, and so few lack a value that the others can stand for all."""
        return self.have > 0 and not self.pending and self.of - self.have <= MOST_LACKING * self.of

    @property
    def share(self) -> str:
        """Such as `11 of 12 items`."""
        return f"{self.have} of {self.of} {self.noun}"

    @property
    def lacking(self) -> str:
        """Such as `1 failed, 2 unscored`."""
        counts = {
            "failed": self.failed,
            "pending": self.pending,
            "unscored": self.unscored,
            "given a value in one run only": self.one_sided,
            "not in both runs": self.unshared,
        }
        return ", ".join(f"{count} {why}" for why, count in counts.items() if count)


def score_coverage(values: ScoredRun, score: str) -> Coverage:
    """Count the results of a run that a score's mean is over."""
    return _counted(
        _noun(values),
        (
            None if values.score_of(item, score) is not None else _lack(values, item, score)
            for item in values.record.items
        ),
        _unlisted(values),
    )


def ended_coverage(values: ScoredRun) -> Coverage:
    """Count the results of a run that an error rate is over: those that ended, well or not."""
    return _counted(_noun(values), map(_pending, values.record.items), _unlisted(values))


def pair_coverage(baseline: ScoredRun, run: ScoredRun, score: str, item_ids: Collection[str]) -> Coverage:
    """Count the items of both runs that a score is compared on.

    Args:
        baseline: The run compared with.
        run: The run.
        score: The score's name.
        item_ids: The items that both have with the same content.
    """
    counted = _counted("items", _pair_lacks(baseline, run, score, item_ids).values())
    return replace(counted, unshared=_unshared(baseline, run, len(item_ids)))


def _unshared(baseline: ScoredRun, run: ScoredRun, shared: int) -> int:
    return max(len(first_results(values.record)) for values in (baseline, run)) - shared


def missing_items(baseline: ScoredRun, run: ScoredRun, score: str, item_ids: Iterable[str]) -> list[str]:
    """List the shared items that should have a value in both runs and lack one."""
    reasons = _pair_lacks(baseline, run, score, item_ids)
    return [item_id for item_id, lack in reasons.items() if lack not in (None, "left out")]


def _pair_lacks(baseline: ScoredRun, run: ScoredRun, score: str, item_ids: Iterable[str]) -> dict[str, Lack | None]:
    """Why shared items have no value in one of the runs; None for those that have one in both."""
    shown = [(values, first_results(values.record), values.numbers.get(score, {})) for values in (baseline, run)]

    def lack(item_id: str) -> Lack | None:
        lacks = [_lack(values, results[item_id], score) for values, results, numbers in shown if item_id not in numbers]
        found = next((lack for lack in lacks if lack != "left out"), None)
        return found or (("one-sided" if len(lacks) == 1 else "left out") if lacks else None)

    return {item_id: lack(item_id) for item_id in item_ids}


def lacks(values: ScoredRun, score: str, item_ids: Iterable[str]) -> dict[Lack, int]:
    """Count why items of a run have no value of a score."""
    results = first_results(values.record)
    return dict(Counter(_lack(values, results[item_id], score) for item_id in item_ids).most_common())


def ended_pair_coverage(baseline: ScoredRun, run: ScoredRun) -> Coverage:
    """Count the items of both runs that their error rates are compared on."""
    first, second = first_results(baseline.record), first_results(run.record)
    both = first.keys() & second.keys()
    counted = _counted("items", (_pending(first[item_id], second[item_id]) for item_id in both))
    return replace(counted, unshared=_unshared(baseline, run, len(both)))


def _pending(*items: ItemResult) -> Lack | None:
    return "pending" if any(item.status == "pending" for item in items) else None


def _lack(values: ScoredRun, item: ItemResult, score: str) -> Lack:
    if item.status != "succeeded":
        return item.status
    # A script that failed is listed under its own name, as that of its scores is not known.
    lost = any(missing.name == score or missing.name not in values.interpretations for missing in item.unscored)
    return "unscored" if lost else "left out"


def _noun(values: ScoredRun) -> str:
    return "results" if len(values.record.experiment_ids) > 1 else "items"


def _unlisted(values: ScoredRun) -> int:
    """Results that the run is to have and that nothing is known of yet."""
    return max(values.record.total_items - len(values.record.items), 0)


def _counted(noun: str, reasons: Iterable[Lack | None], pending: int = 0) -> Coverage:
    found = list(reasons)
    return Coverage(
        noun,
        found.count(None),
        found.count("failed"),
        found.count("pending") + pending,
        found.count("unscored"),
        found.count("one-sided"),
    )
