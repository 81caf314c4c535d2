"""The runs of a dataset: listing them, and looking at one."""

from collections.abc import Mapping, Sequence

import anyio
from pydantic import JsonValue

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE, NextStep
from lfexp_mcp.answers.run import ItemAnswer, ItemScore, RunAnswer, RunDetail, RunList, RunListEntry
from lfexp_mcp.errors import NotFoundError, RejectedError, StateError
from lfexp_mcp.gateway.records import Experiment
from lfexp_mcp.gateway.run_marks import decode_plan
from lfexp_mcp.model import ItemResult, RunRecord, RunStatus, Scale, Score
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.answer_size import MAX_WHOLE_ITEM_TOKENS, AnswerSize, Detail, fit, truncate_answer
from lfexp_mcp.services.cursors import check_cursor, invalid_cursor, read_cursor, write_cursor
from lfexp_mcp.services.runs.configured_scales import configured_scales_of
from lfexp_mcp.services.runs.describe import describe_run, describe_start
from lfexp_mcp.services.runs.following import Follower, OnProgress, follow, wait_for_run
from lfexp_mcp.services.runs.provenance import PROVENANCE_KEY, read_provenance
from lfexp_mcp.services.runs.results import LANGFUSE_PATIENCE_S, read_run, with_comments
from lfexp_mcp.services.runs.run_values import RunValues, read_values
from lfexp_mcp.services.runs.whole import listed_status
from lfexp_mcp.services.workspace import Workspace

PAGES = 5
"""Pages of a listing that are read in search of a run, since one's repetitions may fill some."""

SNAPSHOT_AGE_S = 300.0
"""How long the pages of a run, and single items, are shown from what its first page was read from."""

RUN_TOKENS = 3_000
"""What the description of a run may cost beside a page of its items."""

BAD_REQUEST = 400
"""How Langfuse answers a cursor that it did not give."""


async def list_runs(ws: Workspace, dataset: str, limit: int = 20, cursor: str | None = None) -> RunList:
    """List the runs of a dataset, newest first; repetitions of a run count as one.

    Raises:
        NotFoundError: There is no such dataset.
        UsageError: The cursor is none of this list.
    """
    found = await ws.gateway.dataset(dataset)
    experiments, next_cursor = await _read_page(ws, found.id, limit, cursor)
    entries = [_entry(experiment, _find(ws, experiment.id)) for experiment in experiments if _is_head(experiment)]
    entries.sort(key=lambda entry: entry.created, reverse=True)
    if cursor is None:
        entries = [*_only_here(ws, found.id, {experiment.id for experiment in experiments}, next_cursor), *entries]

    def build(size: AnswerSize) -> RunList:
        return RunList(
            backend=ws.gateway.backend,
            dataset=dataset,
            runs=[_shortened(entry, size) for entry in entries],
            next_cursor=next_cursor,
            next=_next_of_list(dataset, entries, limit, next_cursor),
        )

    return fit(build, limit, "summary")


async def _read_page(
    ws: Workspace, dataset_id: str, limit: int, cursor: str | None
) -> tuple[list[Experiment], str | None]:
    """Read a page of runs and repetitions, and some further ones while there is no run among them."""
    try:
        experiments, following = await ws.gateway.experiments(dataset_id, limit=limit, cursor=cursor)
    except RejectedError as error:
        if cursor is None or error.status != BAD_REQUEST:
            raise
        raise invalid_cursor(cursor) from error
    for _ in range(1, PAGES):
        if following is None or any(map(_is_head, experiments)):
            break
        further, following = await ws.gateway.experiments(dataset_id, limit=limit, cursor=following)
        experiments += further
    return experiments, following


def _shortened(entry: RunListEntry, size: AnswerSize) -> RunListEntry:
    return entry.model_copy(
        update={
            "description": size.truncate_optional(entry.description),
            "metadata": {key: size.truncate(value) for key, value in entry.metadata.items()},
        }
    )


def _is_head(experiment: Experiment) -> bool:
    """Whether an experiment is a run, or the first of its repetitions, which stands for it."""
    repeats = read_provenance(experiment.metadata).get("repeats")
    index = repeats.get("index") if isinstance(repeats, dict) else None
    return not isinstance(index, int) or index == 0


def _entry(experiment: Experiment, folder: RunFolder | None) -> RunListEntry:
    return RunListEntry(
        name=experiment.name,
        created=experiment.created,
        description=experiment.description or _description(experiment),
        results=experiment.item_count,
        metadata={key: value for key, value in experiment.metadata.items() if key != PROVENANCE_KEY},
        status=_status(folder) or listed_status(experiment),
        planned=_planned(experiment),
    )


def _find(ws: Workspace, experiment_id: str) -> RunFolder | None:
    try:
        return ws.runs.find(experiment_id)
    except StateError:
        # Whoever asks for that run is told.
        return None


def _status(folder: RunFolder | None) -> RunStatus | None:
    try:
        return folder.status() if folder else None
    except StateError:
        # Whoever asks for that run is told; the list is not held up by it.
        return None


def _planned(experiment: Experiment) -> int | None:
    plan = decode_plan(read_provenance(experiment.metadata))
    return plan.results if plan is not None else None


def _description(experiment: Experiment) -> str | None:
    """What the runner recorded: Langfuse's list mostly lacks it."""
    recorded = read_provenance(experiment.metadata).get("description")
    return recorded if isinstance(recorded, str) else None


def _only_here(ws: Workspace, dataset_id: str, shown: set[str], next_cursor: str | None) -> list[RunListEntry]:
    """Runs of this machine that Langfuse does not list yet; a list that goes on may hold them on a later page."""
    entries = []
    for folder, run_spec in ws.runs.orders():
        hidden = run_spec.dataset_id == dataset_id and run_spec.experiments[0].id not in shown
        status = _status(folder)
        if not hidden or (next_cursor and status != "running"):
            continue
        entries.append(
            RunListEntry(
                name=run_spec.run_name,
                created=run_spec.created,
                description=run_spec.description,
                results=0,
                metadata=run_spec.metadata,
                status=status,
                planned=run_spec.total_items,
            )
        )
    return sorted(entries, key=lambda entry: entry.created, reverse=True)


def _next_of_list(dataset: str, entries: Sequence[RunListEntry], limit: int, next_cursor: str | None) -> list[NextStep]:
    if not entries and next_cursor is not None:
        arguments: dict[str, JsonValue] = {"dataset": dataset, "limit": limit, "cursor": next_cursor}
        return [NextStep(tool="list_runs", arguments=arguments, why="Read on: so far there are only repetitions.")]
    if not entries:
        return [
            NextStep(
                tool="run_experiment",
                arguments={"dataset": dataset, "run_name": "<new name>", "task_script": "<path>.py"},
                why="Make the first run.",
            )
        ]
    steps = [
        NextStep(tool="get_run", arguments={"dataset": dataset, "run_name": entries[0].name}, why="Look at the newest.")
    ]
    if len(entries) > 1:
        names = [entries[1].name, entries[0].name]
        steps.append(
            NextStep(
                tool="compare_runs", arguments={"dataset": dataset, "runs": [*names]}, why="Compare the newest two."
            )
        )
    return steps


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
            **describe_start(ws, preparing).model_dump(), items=[], next_cursor=None, notice=UNTRUSTED_NOTICE
        )
    record = await read_run(
        ws,
        dataset,
        run_name,
        max_age_s=SNAPSHOT_AGE_S if cursor or item_id else 0,
        patience_s=deadline - anyio.current_time(),
    )
    scales = await configured_scales_of(ws, record)
    answer = truncate_answer(await _describe_once(ws, record, scales), RUN_TOKENS)
    values = read_values(record, scales)
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
    described = ws.snapshots.described
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
            "get_run without item_id lists the items.",
        )
    return items


def _detail(
    answer: RunAnswer, page: Sequence[ItemResult], values: RunValues, start: int, total: int, size: AnswerSize
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
    answer: RunAnswer, items: Sequence[ItemResult], values: RunValues, start: int, size: AnswerSize
) -> RunDetail:
    """The results of one item, with its metadata."""
    detail = _detail(answer, items, values, start, start + len(items), size)
    for shown, item in zip(detail.items, items, strict=False):
        shown.metadata = {key: size.truncate(value) for key, value in item.metadata.items()}
    return detail


def item_answer(item: ItemResult, values: RunValues, size: AnswerSize) -> ItemAnswer:
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
