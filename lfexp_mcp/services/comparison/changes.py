"""Items that came out differently in two runs, the largest changes first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from lfexp_mcp.answers.comparison import ChangedItem, ChangeKind, ChangeList, Crossing
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import ItemResult, ItemStatus
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results


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
    baseline: ScoredRun
    run: ScoredRun
    changes: tuple[Change, ...]
    """The largest first."""


def score_changes(baseline: ScoredRun, run: ScoredRun, score: str, item_ids: Iterable[str]) -> tuple[Changes, Changes]:
    """Find the items whose score fell, and those whose score rose: worse and better where the score has a scale.

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
    fallen = sorted((change for change in changed if _rise(change) < 0), key=lambda one: (_rise(one), one.item_id))
    risen = sorted((change for change in changed if _rise(change) > 0), key=lambda one: (-_rise(one), one.item_id))
    return (
        Changes("worse" if on_scale else "lower", score, baseline, run, tuple(fallen)),
        Changes("better" if on_scale else "higher", score, baseline, run, tuple(risen)),
    )


def _rise(change: Change) -> float:
    return round((change.value or 0.0) - (change.baseline_value or 0.0), 12)


def _crossing(first: float, second: float) -> Crossing | None:
    passed, passes = first >= PASS_MARK, second >= PASS_MARK
    if passed == passes:
        return None
    return "newly passing" if passes else "newly failing"


def error_changes(baseline: ScoredRun, run: ScoredRun, item_ids: Iterable[str]) -> tuple[Changes, Changes]:
    """Find the items whose task fails now and did not before, and the other way round; any failed repeat counts."""
    known = list(item_ids)
    return (
        Changes("newly erroring", None, baseline, run, _turned(baseline, "succeeded", run, "failed", known)),
        Changes("no longer erroring", None, baseline, run, _turned(baseline, "failed", run, "succeeded", known)),
    )


def _turned(
    baseline: ScoredRun, before: ItemStatus, run: ScoredRun, after: ItemStatus, item_ids: Iterable[str]
) -> tuple[Change, ...]:
    """The items of one status in the baseline and of another in the run; one that was not run is of neither."""
    first, second = _ended(baseline), _ended(run)
    return tuple(
        Change(item_id, None, None)
        for item_id in item_ids
        if first.get(item_id) == before and second.get(item_id) == after
    )


def _ended(values: ScoredRun) -> dict[str, ItemStatus]:
    """How each item ended that was run: failed as soon as one of its repeats did."""
    ended: dict[str, ItemStatus] = {}
    for item in values.record.items:
        if item.status == "failed" or (item.status == "succeeded" and item.item_id not in ended):
            ended[item.item_id] = item.status
    return ended


Shown = dict[tuple[str, bool], dict[str, ItemResult]]
"""Results by item id, per run and whether its errors are meant: of several repetitions a failed one shows those."""


@dataclass(frozen=True, slots=True)
class ShownItems:
    """The results whose texts an answer may show."""

    results: Shown
    """Their scores' comments read."""
    trace_urls: dict[str, str | None]


def find_page(changes: Sequence[Changes], cursor: str) -> tuple[Changes, int]:
    """Find the list that a cursor names, and the place in it at which the page begins.

    Raises:
        UsageError: It names none of the lists, or a place beyond its end.
    """
    for listed in changes:
        name, _, place = cursor.rpartition("/")
        if name == _name(listed):
            start = read_cursor(place)
            check_cursor(start, len(listed.changes), f"items {listed.kind}")
            return listed, start
    raise UsageError(
        f"Invalid cursor {cursor!r}: pass `next_cursor` of one of the `changes`, with the same runs, or omit cursor to "
        "start over."
    )


def _name(listed: Changes) -> str:
    return "/".join(quote(part, safe=" ") for part in (listed.kind, listed.score or "", listed.run.name))


def items_to_show(changes: Sequence[Changes], start: int, limit: int) -> Shown:
    """Collect the results of `limit` items of each list, from a place on."""
    shown: Shown = {}
    for listed in changes:
        wanted = [change.item_id for change in listed.changes[start : start + limit]]
        errors = listed.score is None
        for values in (listed.baseline, listed.run):
            results = _results(values, failed_first=errors)
            shown.setdefault((values.name, errors), {}).update({item_id: results[item_id] for item_id in wanted})
    return shown


def _results(values: ScoredRun, *, failed_first: bool) -> dict[str, ItemResult]:
    results = first_results(values.record)
    if failed_first:
        results |= {item.item_id: item for item in values.record.items if item.status == "failed"}
    return results


def show_changes(changes: Changes, start: int, shown: ShownItems, size: AnswerSize) -> ChangeList:
    """Show a list of changes from a place on, at a given size."""
    total = len(changes.changes)
    end = min(start + size.rows, total)
    return ChangeList(
        kind=changes.kind,
        run=changes.run.name,
        score=changes.score,
        total=total,
        items=[_show(change, changes, shown, size) for change in changes.changes[start:end]],
        next_cursor=f"{_name(changes)}/{write_cursor(end)}" if end < total else None,
    )


def _show(change: Change, changes: Changes, shown: ShownItems, size: AnswerSize) -> ChangedItem:
    errors = changes.score is None
    before = shown.results[changes.baseline.name, errors][change.item_id]
    after = shown.results[changes.run.name, errors][change.item_id]
    return ChangedItem(
        item_id=change.item_id,
        baseline_value=change.baseline_value,
        value=change.value,
        crossed=change.crossed,
        input=size.truncate(after.input),
        expected_output=size.truncate(after.expected_output),
        baseline_output=size.truncate(before.output),
        output=size.truncate(after.output),
        baseline_reason=size.truncate_optional(_reason(before, changes.score, changes.baseline)),
        reason=size.truncate_optional(_reason(after, changes.score, changes.run)),
        baseline_trace_id=before.trace_id,
        trace_id=after.trace_id,
        baseline_trace_url=shown.trace_urls.get(before.trace_id or ""),
        trace_url=shown.trace_urls.get(after.trace_id or ""),
    )


def _reason(item: ItemResult, score: str | None, values: ScoredRun) -> str | None:
    """Why an item got what it got: its task's error, else the comment of its score."""
    if item.error is not None:
        return item.error
    found = values.score_of(item, score) if score is not None else None
    return found.comment if found is not None else None
