"""Items that came out differently in two runs, the largest changes first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lfexp_mcp.answers.comparison import ChangedItem, ChangeKind, ChangeList, Crossing
from lfexp_mcp.records import ItemResult
from lfexp_mcp.scores.pass_mark import PASS_MARK
from lfexp_mcp.services.allowance import Allowance
from lfexp_mcp.services.run_values import RunValues, first_results


@dataclass(frozen=True, slots=True)
class Change:
    """One item's change, before its texts are shown."""

    item_id: str
    baseline_value: float | None
    value: float | None
    crossed: Crossing | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """All items that changed in one way."""

    kind: ChangeKind
    score: str | None
    baseline: RunValues
    run: RunValues
    changes: tuple[Change, ...]
    """The largest first."""


def score_changes(baseline: RunValues, run: RunValues, score: str, item_ids: Iterable[str]) -> tuple[Changes, Changes]:
    """Find the items whose score fell, and those whose score rose.

    Args:
        baseline: The run compared with.
        run: The run.
        score: The score's name.
        item_ids: The items that may be compared.
    """
    first, second = baseline.numbers.get(score, {}), run.numbers.get(score, {})
    on_scale = baseline.has_scale(score) and run.has_scale(score)
    changed = [
        Change(
            item_id, first[item_id], second[item_id], _crossing(first[item_id], second[item_id]) if on_scale else None
        )
        for item_id in item_ids
        if item_id in first and item_id in second and abs(second[item_id] - first[item_id]) > 1e-12
    ]
    worse = sorted((change for change in changed if _rise(change) < 0), key=lambda one: (_rise(one), one.item_id))
    better = sorted((change for change in changed if _rise(change) > 0), key=lambda one: (-_rise(one), one.item_id))
    return (
        Changes("worse", score, baseline, run, tuple(worse)),
        Changes("better", score, baseline, run, tuple(better)),
    )


def _rise(change: Change) -> float:
    return round((change.value or 0.0) - (change.baseline_value or 0.0), 12)


def _crossing(first: float, second: float) -> Crossing | None:
    passed, passes = first >= PASS_MARK, second >= PASS_MARK
    if passed == passes:
        return None
    return "newly passing" if passes else "newly failing"


def error_changes(baseline: RunValues, run: RunValues, item_ids: Iterable[str]) -> tuple[Changes, Changes]:
    """Find the items whose task fails now and did not before, and the other way round; any failed repeat counts."""
    first, second = _failing(baseline), _failing(run)
    known = list(item_ids)
    begun = [Change(item_id, None, None) for item_id in known if item_id in second and item_id not in first]
    ended = [Change(item_id, None, None) for item_id in known if item_id in first and item_id not in second]
    return (
        Changes("newly erroring", None, baseline, run, tuple(begun)),
        Changes("no longer erroring", None, baseline, run, tuple(ended)),
    )


def _failing(values: RunValues) -> set[str]:
    return {item.item_id for item in values.record.items if item.status == "failed"}


Shown = dict[tuple[str, bool], dict[str, ItemResult]]
"""Results by item id, per run and whether its errors are meant: of several repetitions a failed one shows those."""


@dataclass(frozen=True, slots=True)
class ShownItems:
    """The results whose texts an answer may show."""

    results: Shown
    """Their scores' comments read."""
    trace_urls: dict[str, str | None]


def items_to_show(changes: Sequence[Changes], limit: int) -> Shown:
    """Collect the results of the first `limit` items of each list."""
    shown: Shown = {}
    for listed in changes:
        wanted = [change.item_id for change in listed.changes[:limit]]
        errors = listed.score is None
        for values in (listed.baseline, listed.run):
            results = _results(values, failed_first=errors)
            shown.setdefault((values.name, errors), {}).update({item_id: results[item_id] for item_id in wanted})
    return shown


def _results(values: RunValues, *, failed_first: bool) -> dict[str, ItemResult]:
    results = first_results(values.record)
    if failed_first:
        results |= {item.item_id: item for item in values.record.items if item.status == "failed"}
    return results


def show_changes(changes: Changes, shown: ShownItems, allowance: Allowance) -> ChangeList:
    """Show a list of changes within an allowance."""
    return ChangeList(
        kind=changes.kind,
        run=changes.run.name,
        score=changes.score,
        total=len(changes.changes),
        items=[_show(change, changes, shown, allowance) for change in changes.changes[: allowance.rows]],
    )


def _show(change: Change, changes: Changes, shown: ShownItems, allowance: Allowance) -> ChangedItem:
    errors = changes.score is None
    before = shown.results[changes.baseline.name, errors][change.item_id]
    after = shown.results[changes.run.name, errors][change.item_id]
    return ChangedItem(
        item_id=change.item_id,
        baseline_value=change.baseline_value,
        value=change.value,
        crossed=change.crossed,
        input=allowance.cut(after.input),
        expected_output=allowance.cut(after.expected_output),
        baseline_output=allowance.cut(before.output),
        output=allowance.cut(after.output),
        baseline_reason=allowance.cut_note(_reason(before, changes.score, changes.baseline)),
        reason=allowance.cut_note(_reason(after, changes.score, changes.run)),
        baseline_trace_id=before.trace_id,
        trace_id=after.trace_id,
        baseline_trace_url=shown.trace_urls.get(before.trace_id or ""),
        trace_url=shown.trace_urls.get(after.trace_id or ""),
    )


def _reason(item: ItemResult, score: str | None, values: RunValues) -> str | None:
    """Why an item got what it got: its task's error, else the comment of its score."""
    if item.error is not None:
        return item.error
    found = values.score_of(item, score) if score is not None else None
    return found.comment if found is not None else None
