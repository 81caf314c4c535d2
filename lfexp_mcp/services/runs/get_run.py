"""Reading one run for a caller: its description, and a page of its items."""

from collections.abc import Sequence

import anyio

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE
from lfexp_mcp.answers.run import ItemAnswer, ItemScore, RunAnswer, RunDetail
from lfexp_mcp.errors import NotFoundError, UnreadError
from lfexp_mcp.model import ItemResult, NextStep, RunRecord, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.answer_size import MAX_WHOLE_ITEM_TOKENS, AnswerSize, Detail, fit, truncate_answer
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.run_cache import MAX_AGE_S, RunSummary
from lfexp_mcp.services.runs.follower import OnProgress, wait_for_run
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.runs.read_run import READING_PATIENCE_S, read_run, with_comments
from lfexp_mcp.services.runs.run_answer import describe_launch, describe_run, describe_unread
from lfexp_mcp.services.runs.run_summary import summarise_in_time
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

MAX_RUN_TOKENS = 3_000
"""Budget of the description of a run beside a page of its items."""


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
    patience_s: float = READING_PATIENCE_S,
    on_progress: OnProgress | None = None,
) -> RunDetail:
    """Describe a run, with a page of its items.

    Args:
        ws: The workspace.
        dataset: The dataset's name.
        run_name: The run's name.
        item_id: Show only the results of this item, whole.
        limit: Items per page; fewer are shown if their texts are long.
        cursor: Where the page begins.
        wait_seconds: How long to wait for a running run of this machine to end.
        detail: `full` cuts texts only if a single item is too long for an answer.
        patience_s: How long the answer may take beyond the wait, for a run that has a journal on this machine. What is
            not read by then is said to be unknown.
        on_progress: Called with the run's progress while waiting.

    Raises:
        NotFoundError: There is no such dataset, run or item.
        UsageError: The cursor is invalid.
    """
    start = read_cursor(cursor)
    due = anyio.current_time() + wait_seconds + patience_s
    launch = await wait_for_run(ws, dataset, run_name, wait_seconds, on_progress)
    if launch is not None:
        return RunDetail(**dict(describe_launch(ws, launch)), items=[], next_cursor=None, notice=UNTRUSTED_NOTICE)
    try:
        record = await read_run(ws, dataset, run_name, max_age_s=MAX_AGE_S if cursor or item_id else 0, until=due)
        summary = await summarise_in_time(ws, record, due)
    except UnreadError as unread:
        folder = await find_run_folder(ws, dataset, run_name)
        if folder is None:
            raise
        answer = await describe_unread(ws, folder, unread)
        return RunDetail(**dict(answer), items=[], next_cursor=None, notice=UNTRUSTED_NOTICE)
    run = ScoredRun(record, summary.interpretations, summary.humans)
    answer = truncate_answer(await _describe_once(ws, record, summary), MAX_RUN_TOKENS)
    results: Sequence[ItemResult] = record.items if item_id is None else _results_of(record, item_id)
    check_cursor(start, len(results), "results" if item_id is None else "results of this item")
    page = await with_comments(ws, results[start : start + limit if item_id is None else None])

    def build(size: AnswerSize) -> RunDetail:
        shown = page[: size.rows]
        end = start + len(shown)
        return RunDetail(
            **dict(answer),
            items=[item_answer(item, run, size, with_metadata=item_id is not None) for item in shown],
            next_cursor=write_cursor(end) if end < len(results) else None,
            notice=UNTRUSTED_NOTICE,
        )

    if item_id is not None:
        return fit(build, len(page), "full", MAX_WHOLE_ITEM_TOKENS)
    return fit(build, limit, detail)


async def _describe_once(ws: Workspace, record: RunRecord, summary: RunSummary) -> RunAnswer:
    """Describe a run, from memory for the further pages of one that has ended."""
    if record.status == "running":
        return await describe_run(ws, record, summary)
    described = ws.run_cache.described
    key = (summary, record)
    return described.find(*key) or described.keep(await describe_run(ws, record, summary), *key)


def _results_of(record: RunRecord, item_id: str) -> list[ItemResult]:
    results = [item for item in record.items if item.item_id == item_id]
    if not results:
        raise NotFoundError.of(
            f"item in run {record.run_name!r}",
            item_id,
            (item.item_id for item in record.items),
            next=[NextStep("get_run", {"dataset": record.dataset, "run_name": record.run_name}, "List the items.")],
        )
    return results


def item_answer(item: ItemResult, run: ScoredRun, size: AnswerSize, *, with_metadata: bool = False) -> ItemAnswer:
    """Show one result of a run at a given size."""
    scores = [_item_score(score, run.interpretation_of(score), size) for score in item.scores]
    scores += [
        ItemScore(name=failure.name, value=None, error=size.truncate_text(failure.error)) for failure in item.unscored
    ]
    return ItemAnswer(
        item_id=item.item_id,
        status=item.status,
        input=size.truncate(item.input),
        output=size.truncate(item.output),
        expected_output=size.truncate(item.expected_output),
        error=size.truncate_optional(item.error),
        scores=scores,
        metadata={key: size.truncate(value) for key, value in item.metadata.items()} if with_metadata else None,
        trace_id=item.trace_id,
        seconds=item.seconds,
        repeat=repeat_of(run.record, item),
    )


def repeat_of(record: RunRecord, item: ItemResult) -> int | None:
    """Return which repetition of its run a result is of; None for a run without repeats."""
    return item.repeat if len(record.experiment_ids) > 1 else None


def _item_score(score: Score, interpretation: ScoreInterpretation | None, size: AnswerSize) -> ItemScore:
    value, raw = score.value, score.raw
    if interpretation is not None and not isinstance(value, bool | str):
        canonical = interpretation.canonical(score)
        if canonical is not None and canonical != value:
            value, raw = canonical, score.raw if score.raw is not None else float(value)
    return ItemScore(
        name=score.name,
        value=size.truncate_text(value) if isinstance(value, str) else value,
        comment=size.truncate_optional(score.comment),
        raw=raw,
        source=score.source if score.source != "API" else None,
    )
