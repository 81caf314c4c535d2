"""Reading one run for a caller: its description, and a page of its items."""

import anyio

from lfexp_mcp.answers.run import ItemAnswer, ItemScore, ObservationAnswer, RunAnswer, RunDetail, RunProgress
from lfexp_mcp.errors import NotFoundError, UnreadError
from lfexp_mcp.model import ItemResult, RunRecord, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.answer_size import MAX_WHOLE_ITEM_TOKENS, AnswerSize, Detail, fit, truncate_answer
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.next_steps import run_step
from lfexp_mcp.services.requests import ResultFilter
from lfexp_mcp.services.run_cache import MAX_AGE_S, RunSummary
from lfexp_mcp.services.runs.follower import OnProgress, wait_for_run
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.runs.observations import read_traces, show_observations
from lfexp_mcp.services.runs.read_run import READING_PATIENCE_S, read_run, with_comments
from lfexp_mcp.services.runs.result_filter import filter_results
from lfexp_mcp.services.runs.run_answer import describe_launch, describe_run, describe_unread
from lfexp_mcp.services.runs.run_summary import summarise_in_time
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

MAX_RUN_TOKENS = 3_000
"""Budget of the description of a run beside a page of its items."""
TRACE_TOKENS = 3_500
"""Budget kept for what a task did, beside its item; it has what the item leaves, too."""
MIN_TRACE_CHARS = 150
"""Texts of a trace are cut this far before its last observations are left out."""
MIN_TRACE_PATIENCE_S = 2.0
"""Time to read a trace, also of a call that has spent its own on the run."""
MAX_TRACES = 5
"""Repeats of an item of which it is read what the task did."""


async def get_run(
    ws: Workspace,
    dataset: str,
    run_name: str,
    *,
    item_id: str | None = None,
    results: ResultFilter | None = None,
    limit: int = 20,
    cursor: str | None = None,
    wait_seconds: float = 0,
    detail: Detail = "summary",
    patience_s: float = READING_PATIENCE_S,
    on_progress: OnProgress | None = None,
) -> RunDetail:
    """Describe a run, with a page of its items.

    The first page has all that is known of the run; further pages, and an item, only how it stands.

    Args:
        item_id: Show only the results of this item, or of the trace that has this id, whole, with what its task did.
        results: Which results to list, in which order; None for all in the order of the run.
        limit: Items per page; fewer are shown if their texts are long.
        cursor: Where the page begins.
        wait_seconds: How long to wait for a running run of this machine to end.
        detail: `full` cuts texts only if a single item is too long for an answer.
        patience_s: How long the answer may take beyond the wait, for a run that has a journal on this machine. What is
            not read by then is reported as unknown.
        on_progress: Called with the run's progress while waiting.

    Raises:
        NotFoundError: There is no such dataset, run, item, score or metadata key.
        UsageError: The cursor is invalid, or of another filter; or the filter has two meanings.
    """
    asked = results or ResultFilter()
    start = read_cursor(cursor, asked.digest)
    due = anyio.current_time() + wait_seconds + patience_s
    launch = await wait_for_run(ws, dataset, run_name, wait_seconds, on_progress)
    if launch is not None:
        return RunDetail(**dict(describe_launch(ws, launch)))
    try:
        # What follows a first page is read from memory, so that pages fit together.
        record = await read_run(ws, dataset, run_name, max_age_s=MAX_AGE_S if cursor or item_id else 0, until=due)
        summary = await summarise_in_time(ws, record, due)
    except UnreadError as unread:
        folder = await find_run_folder(ws, dataset, run_name)
        if folder is None:
            raise
        return RunDetail(**dict(await describe_unread(ws, folder, unread)))
    run = ScoredRun(record, summary.interpretations, summary.humans)
    described = await _describe_once(ws, record, summary)
    if cursor is not None or item_id is not None:
        described = _how_it_stands(described, record)
    if item_id is not None:
        return await _whole_item(ws, described, run, item_id, due)
    return await _page_of_items(ws, described, run, asked, start, limit, detail)


async def _page_of_items(
    ws: Workspace, described: RunAnswer, run: ScoredRun, asked: ResultFilter, start: int, limit: int, detail: Detail
) -> RunDetail:
    chosen, notes = await filter_results(ws, run, asked)
    described = described.model_copy(update={"warnings": [*notes, *described.warnings]})
    answer = truncate_answer(described, MAX_RUN_TOKENS)
    check_cursor(start, len(chosen), "results")
    page = await with_comments(ws, chosen[start : start + limit])

    def build(size: AnswerSize) -> RunDetail:
        shown = page[: size.rows]
        end = start + len(shown)
        return RunDetail(
            **dict(answer),
            matching=len(chosen) if asked.digest else None,
            items=[item_answer(item, run, size) for item in shown],
            next_cursor=write_cursor(end, asked.digest) if end < len(chosen) else None,
        )

    return fit(build, limit, detail)


def _how_it_stands(described: RunAnswer, record: RunRecord) -> RunAnswer:
    """Leave out what the first page has told of the run."""
    kept = {name: getattr(described, name) for name in (*RunProgress.model_fields, "experiment_id", "experiment_url")}
    return RunAnswer(**{**kept, "warnings": list(record.warnings)})


async def _whole_item(ws: Workspace, described: RunAnswer, run: ScoredRun, item_id: str, due: float) -> RunDetail:
    """Show the results of an item, and then of what their tasks did as much as there is room for."""
    page = await with_comments(ws, _results_of(run.record, item_id))
    traces, notes = await read_traces(ws, page[:MAX_TRACES], max(due, anyio.current_time() + MIN_TRACE_PATIENCE_S))
    described = described.model_copy(update={"warnings": [*described.warnings, *notes]})
    urls = {trace_id: await ws.gateway.trace_url(trace_id) for item in page if (trace_id := item.trace_id)}

    def build(size: AnswerSize) -> RunDetail:
        items = [item_answer(item, run, size, with_metadata=True) for item in page[: size.rows]]
        for item in items:
            item.trace_url = urls.get(item.trace_id or "")
        return RunDetail(**dict(described), items=items)

    room = TRACE_TOKENS if any(traces.values()) else 0
    whole = fit(build, len(page), "full", MAX_WHOLE_ITEM_TOKENS - room)
    if len(whole.items) < len(page):
        # There is no cursor in an item: its further repetitions are listed with the others.
        whole.warnings = [*whole.warnings, f"{len(whole.items)} of {len(page)} results of this item are shown."]
    if not room:
        return whole

    def shown(item: ItemAnswer, size: AnswerSize) -> list[ObservationAnswer]:
        return show_observations(traces.get(item.trace_id or "", ()), size, measured=not run.record.is_replayed)

    def with_traces(size: AnswerSize) -> RunDetail:
        items = [item.model_copy(update={"observations": shown(item, size)}) for item in whole.items]
        cut = [len(steps) for steps in traces.values() if len(steps) > size.rows]
        more = [f"{size.rows} of {count} observations of the trace are shown." for count in cut]
        return whole.model_copy(update={"items": items, "warnings": [*whole.warnings, *more]})

    return fit(with_traces, max(map(len, traces.values())), "summary", MAX_WHOLE_ITEM_TOKENS, MIN_TRACE_CHARS)


async def _describe_once(ws: Workspace, record: RunRecord, summary: RunSummary) -> RunAnswer:
    """Describe a run, from memory for the further pages of one that has ended."""
    if record.status == "running":
        return await describe_run(ws, record, summary)
    described = ws.run_cache.described
    key = (summary, record)
    return described.find(*key) or described.keep(await describe_run(ws, record, summary), *key)


def _results_of(record: RunRecord, item_id: str) -> list[ItemResult]:
    results = [item for item in record.items if item_id in (item.item_id, item.trace_id)]
    if not results:
        raise NotFoundError.of(
            f"item in run {record.run_name!r}",
            item_id,
            (item.item_id for item in record.items),
            next=[run_step("get_run", record.dataset, record.run_name, "List the items.")],
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
