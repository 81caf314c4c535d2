"""Items with different results in two runs, the largest changes first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from lfexp_mcp.answers.comparison import ChangedItem, ChangeKind, ChangeList, Crossing
from lfexp_mcp.errors import CursorError
from lfexp_mcp.model import ItemResult
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.runs.read_run import with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Change:
    """One changed item: its results in the baseline and in the run, and what they scored."""

    before: ItemResult
    after: ItemResult
    baseline_value: float | None = None
    value: float | None = None
    crossed: Crossing | None = None


@dataclass(frozen=True, slots=True)
class ChangedItems:
    """All items that changed in one way, the largest changes first."""

    kind: ChangeKind
    score: str | None
    pair: RunPair
    changes: tuple[Change, ...]


def score_changes(pair: RunPair, score: str) -> list[ChangedItems]:
    """Find the items whose score fell, and those whose score rose: worse and better if the score has a scale."""
    has_scale = pair.has_scale(score)
    # Values that differ only by rounding have not changed.
    deltas = {
        item_id: delta
        for item_id, (before, after) in pair.values(score).items()
        if (delta := round(after - before, 12))
    }

    def changed(kind: ChangeKind, sign: int) -> ChangedItems:
        item_ids = sorted(
            (item_id for item_id, delta in deltas.items() if sign * delta > 0),
            key=lambda item_id: (-sign * deltas[item_id], item_id),
        )
        return ChangedItems(kind, score, pair, tuple(map(change, item_ids)))

    def change(item_id: str) -> Change:
        before, after = pair.baseline.numbers[score][item_id], pair.run.numbers[score][item_id]
        crossed = _crossing(before, after) if has_scale else None
        return Change(pair.before[item_id], pair.after[item_id], before, after, crossed)

    return [changed("worse" if has_scale else "lower", -1), changed("better" if has_scale else "higher", 1)]


def _crossing(before: float, after: float) -> Crossing | None:
    if is_pass(before) == is_pass(after):
        return None
    return "newly passing" if is_pass(after) else "newly failing"


def error_changes(pair: RunPair) -> list[ChangedItems]:
    """Find the items whose task fails in one of the runs only; any failed repeat counts as failed."""
    before, after = _failed(pair.baseline), _failed(pair.run)
    erring = [item_id for item_id in pair.item_ids if item_id in before or item_id in after]
    both = [(before.get(item_id, pair.before[item_id]), after.get(item_id, pair.after[item_id])) for item_id in erring]

    def turned(kind: ChangeKind, *statuses: str) -> ChangedItems:
        changes = (Change(first, second) for first, second in both if (first.status, second.status) == statuses)
        return ChangedItems(kind, None, pair, tuple(changes))

    return [turned("newly erroring", "succeeded", "failed"), turned("no longer erroring", "failed", "succeeded")]


def _failed(values: ScoredRun) -> dict[str, ItemResult]:
    return {item.item_id: item for item in values.record.items if item.status == "failed"}


def find_page(lists: Sequence[ChangedItems], cursor: str) -> tuple[ChangedItems, int]:
    """Find the list that a cursor continues, and where in it the page starts.

    Raises:
        CursorError: The cursor is of no list, or past its end.
    """
    for listed in lists:
        name, _, place = cursor.rpartition("/")
        if name == _name(listed):
            start = read_cursor(place)
            check_cursor(start, len(listed.changes), f"items {listed.kind}")
            return listed, start
    raise CursorError(
        f"Invalid cursor {cursor!r}: pass `next_cursor` of one of the `changes`, with the same runs, or omit cursor to "
        "start over."
    )


def _name(listed: ChangedItems) -> str:
    return "/".join(quote(part, safe=" ") for part in (listed.kind, listed.score or "", listed.pair.run.name))


async def read_details(ws: Workspace, lists: Sequence[ChangedItems], start: int, limit: int) -> list[ChangedItems]:
    """Read the judges' reasons for the `limit` items of each list that an answer may show.

    Returns:
        The lists with the reasons.
    """
    pages = [listed.changes[start : start + limit] for listed in lists]
    shown = {id(item): item for page in pages for change in page for item in (change.before, change.after)}
    read = dict(zip(shown, await with_comments(ws, list(shown.values())), strict=True))
    commented = []
    for listed, page in zip(lists, pages, strict=True):
        changes = (replace(one, before=read[id(one.before)], after=read[id(one.after)]) for one in page)
        rest = listed.changes[start + limit :]
        commented.append(replace(listed, changes=(*listed.changes[:start], *changes, *rest)))
    return commented


def show_changes(listed: ChangedItems, start: int, size: AnswerSize) -> ChangeList:
    """Show a page of a list at a given size."""
    total = len(listed.changes)
    end = min(start + size.rows, total)
    return ChangeList(
        kind=listed.kind,
        run=listed.pair.run.name,
        score=listed.score,
        total=total,
        items=[_show(change, listed, size) for change in listed.changes[start:end]],
        next_cursor=f"{_name(listed)}/{write_cursor(end)}" if end < total else None,
    )


def _show(change: Change, listed: ChangedItems, size: AnswerSize) -> ChangedItem:
    before, after, pair = change.before, change.after, listed.pair
    return ChangedItem(
        item_id=after.item_id,
        baseline_value=change.baseline_value,
        value=change.value,
        crossed=change.crossed,
        input=size.truncate(after.input),
        expected_output=size.truncate(after.expected_output),
        baseline_output=size.truncate(before.output),
        output=size.truncate(after.output),
        baseline_reason=size.truncate_optional(_reason(before, listed.score, pair.baseline)),
        reason=size.truncate_optional(_reason(after, listed.score, pair.run)),
    )


def _reason(item: ItemResult, score: str | None, values: ScoredRun) -> str | None:
    """The task's error, else the comment of the score."""
    if item.error is not None or score is None:
        return item.error
    found = values.score_of(item, score)
    return found.comment if found is not None else None
