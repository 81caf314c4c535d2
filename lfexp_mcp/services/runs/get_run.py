"""Reading one run for a caller: its description, and a page of its items."""

from collections.abc import Mapping, Sequence

import anyio

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE
from lfexp_mcp.answers.run import ItemAnswer, ItemScore, RunAnswer, RunDetail
from lfexp_mcp.errors import NotFoundError, StateError
from lfexp_mcp.model import ItemResult, NextStep, RunRecord, Scale, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.answer_size import MAX_WHOLE_ITEM_TOKENS, AnswerSize, Detail, fit, truncate_answer
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.runs.follower import Follower, OnProgress, follow, wait_for_run
from lfexp_mcp.services.runs.read_run import LANGFUSE_PATIENCE_S, read_run, with_comments
from lfexp_mcp.services.runs.run_answer import describe_launch, describe_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, configured_scales, interpret_run
from lfexp_mcp.services.workspace import Workspace

SNAPSHOT_AGE_S = 300.0
"""How long the pages of a run, and single items, are shown from what its first page was read from."""

RUN_TOKENS = 3_000
"""What the description of a run may cost beside a page of its items."""


async def get_run(
    ws: Workspace,
    dataset: str,
    run_name: str,
    *,
    item_id: str | None = None,
    limit: int = 20,
    cursor: str | None = None,
    wait_seconds: float = 0,
    detail: Detail = "summary",
    patience_s: float = LANGFUSE_PATIENCE_S,
    on_progress: OnProgress | None = None,
) -> RunDetail:
    """Look at a run, with a page of its items.

    Args:
        ws: The workspace.
        dataset: The dataset's name.
        run_name: The run's name.
        item_id: Only this item, whole.
        limit: Items in a page; fewer are shown where their texts would take too much room.
        cursor: Where the page begins.
        wait_seconds: How long to wait for a run at work on this machine to end.
        detail: `full` cuts texts only where a single item is too long for an answer.
        patience_s: How long Langfuse may take, beyond the wait, for a run that the journal of this machine tells too.
        on_progress: Told how far the run has come while waiting.

    Raises:
        NotFoundError: There is no such dataset, run or item.
        UsageError: The cursor is none of this list.
    """
    start = read_cursor(cursor)
    deadline = anyio.current_time() + wait_seconds + patience_s
    preparing = await wait_for_run(ws, dataset, run_name, wait_seconds, on_progress)
    if preparing is not None:
        return RunDetail(
            **describe_launch(ws, preparing).model_dump(), items=[], next_cursor=None, notice=UNTRUSTED_NOTICE
        )
    record = await read_run(
        ws,
        dataset,
        run_name,
        max_age_s=SNAPSHOT_AGE_S if cursor or item_id else 0,
        patience_s=deadline - anyio.current_time(),
    )
    scales = await configured_scales(ws, record.scores)
    answer = truncate_answer(await _describe_once(ws, record, scales), RUN_TOKENS)
    values = interpret_run(record, scales)
    if item_id is not None:
        named = _items_named(record, item_id)
        check_cursor(start, len(named), "results of this item")
        items = await with_comments(ws, named[start:])
        return fit(
            lambda size: _whole_items(answer, items, values, start, size),
            len(items),
            "full",
            MAX_WHOLE_ITEM_TOKENS,
        )
    check_cursor(start, len(record.items), "results")
    page = await with_comments(ws, record.items[start : start + limit])

    def build(size: AnswerSize) -> RunDetail:
        return _detail(answer, page, values, start, len(record.items), size)

    return fit(build, limit, detail)


async def _describe_once(ws: Workspace, record: RunRecord, scales: Mapping[str, Scale]) -> RunAnswer:
    """Describe a run that was read; the further pages of one that has ended need not work that out again."""
    described = ws.run_cache.described
    answer = None if scales else described.find(record)
    return answer or described.keep(await describe_read(ws, record, scales), *(() if scales else (record,)))


async def describe_read(ws: Workspace, record: RunRecord, configured: Mapping[str, Scale]) -> RunAnswer:
    """Describe a run that was read, with what its folder on this machine adds."""
    return await describe_run(ws, record, await _follower(ws, record), configured=configured)


async def _follower(ws: Workspace, record: RunRecord) -> Follower | None:
    try:
        folder = ws.runs.find(record.experiment_ids[0])
        return await follow(ws, folder) if folder else None
    except StateError:
        # The record, which was read from Langfuse then, says so.
        return None


def _items_named(record: RunRecord, item_id: str) -> list[ItemResult]:
    items = [item for item in record.items if item.item_id == item_id]
    if not items:
        raise NotFoundError.of(
            f"item in run {record.run_name!r}",
            item_id,
            (item.item_id for item in record.items),
            next=[NextStep("get_run", {"dataset": record.dataset, "run_name": record.run_name}, "List the items.")],
        )
    return items


def _detail(
    answer: RunAnswer, page: Sequence[ItemResult], values: ScoredRun, start: int, total: int, size: AnswerSize
) -> RunDetail:
    shown = page[: size.rows]
    items = [item_answer(item, values, size) for item in shown]
    end = start + len(shown)
    return RunDetail(
        **answer.model_dump(),
        items=items,
        next_cursor=write_cursor(end) if end < total else None,
        notice=UNTRUSTED_NOTICE,
    )


def _whole_items(
    answer: RunAnswer, items: Sequence[ItemResult], values: ScoredRun, start: int, size: AnswerSize
) -> RunDetail:
    """The results of one item, with its metadata."""
    detail = _detail(answer, items, values, start, start + len(items), size)
    for shown, item in zip(detail.items, items, strict=False):
        shown.metadata = {key: size.truncate(value) for key, value in item.metadata.items()}
    return detail


def item_answer(item: ItemResult, values: ScoredRun, size: AnswerSize) -> ItemAnswer:
    """Show one item of a run at a given size."""
    scores = [_item_score(score, values.interpretation_of(score), size) for score in item.scores]
    scores += [
        ItemScore(name=missing.name, value=None, error=size.truncate_text(missing.error)) for missing in item.unscored
    ]
    return ItemAnswer(
        item_id=item.item_id,
        status=item.status,
        input=size.truncate(item.input),
        output=size.truncate(item.output),
        expected_output=size.truncate(item.expected_output),
        error=size.truncate_optional(item.error),
        scores=scores,
        trace_id=item.trace_id,
        seconds=item.seconds,
        repeat=repeat_of(values.record, item),
    )


def repeat_of(record: RunRecord, item: ItemResult) -> int | None:
    """Which repetition of its run a result is of; None for a run without repeats."""
    return item.repeat if len(record.experiment_ids) > 1 else None


def _item_score(score: Score, reading: ScoreInterpretation | None, size: AnswerSize) -> ItemScore:
    value, raw = score.value, score.raw
    if reading is not None and not isinstance(value, bool | str):
        canonical = reading.canonical(score)
        if canonical is not None and canonical != value:
            value, raw = canonical, score.raw if score.raw is not None else float(value)
    return ItemScore(
        name=score.name,
        value=size.truncate_text(value) if isinstance(value, str) else value,
        comment=size.truncate_optional(score.comment),
        raw=raw,
        source=score.source,
    )
