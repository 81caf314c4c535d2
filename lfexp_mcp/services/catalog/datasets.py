"""The datasets of the project, and one with a page of its items."""

from collections.abc import Sequence

import anyio
from pydantic import JsonValue

from lfexp_mcp.answers.catalog import DatasetDetail, DatasetEntry, DatasetItemEntry, DatasetList
from lfexp_mcp.errors import RejectedError, UsageError
from lfexp_mcp.gateway import Dataset, Experiment
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import DatasetItem, NextStep, Provenance
from lfexp_mcp.services.answer_size import AnswerSize, Detail, fit, truncate_answer
from lfexp_mcp.services.catalog.metadata import MAX_KEYS, count_metadata
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.next_steps import add_items_step, list_runs_step, run_step
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import Workspace

MAX_CONCURRENT_REQUESTS = 8
MAX_COUNTED_ITEMS = 10_000
"""Items of a dataset whose metadata are counted."""
ITEMS_AT_ONCE = 1_000
COUNTING_PATIENCE_S = 20.0
"""How long to read items for the counts; those of the items read until then are shown."""
RUNS_SHOWN = 10
MAX_HEAD_TOKENS = 3_000
"""Budget of the description of a dataset beside a page of its items."""
NOT_FOUND = 404


async def list_datasets(ws: Workspace, limit: int = 20, cursor: str | None = None) -> DatasetList:
    """List the project's datasets, newest first, with their items counted and their last run.

    Raises:
        UsageError: The cursor is invalid.
    """
    start = read_cursor(cursor)
    page, total = await ws.gateway.datasets.page(start, limit)
    check_cursor(start, total, "datasets")
    counts = await _count_items(ws, page)
    last_runs = await _last_runs(ws, page)

    def build(size: AnswerSize) -> DatasetList:
        shown = page[: size.rows]
        end = start + len(shown)
        entries = [_entry(dataset, counts.get(dataset.id), last_runs.get(dataset.id), size) for dataset in shown]
        return DatasetList(
            backend=str(ws.gateway.backend),
            total=total,
            datasets=entries,
            next_cursor=write_cursor(end) if end < total else None,
            warnings=[] if page else [*ws.gateway.backend.notes],
            next=_steps_to_one(entries),
        )

    return fit(build, limit, "summary")


async def _count_items(ws: Workspace, datasets: Sequence[Dataset]) -> dict[str, int]:
    counts: dict[str, int] = {}

    async def count(dataset: Dataset) -> None:
        try:
            counts[dataset.id] = await ws.gateway.datasets.count_items(dataset)
        except RejectedError as refused:
            # Deleted since it was listed.
            if refused.status != NOT_FOUND:
                raise
        except UsageError:
            # Its holdout cannot be read; get_dataset says why.
            return

    await for_each(datasets, count, MAX_CONCURRENT_REQUESTS)
    return counts


async def _last_runs(ws: Workspace, datasets: Sequence[Dataset]) -> dict[str, Experiment]:
    """Find the run with the latest activity of each dataset, most of them in a single request."""
    recent, further = await ws.gateway.experiments.page(None)
    last: dict[str, Experiment] = {}
    for experiment in recent:
        last.setdefault(experiment.dataset_id or "", experiment)

    async def look_up(dataset: Dataset) -> None:
        found, _ = await ws.gateway.experiments.page(dataset.id, limit=1)
        if found:
            last[dataset.id] = found[0]

    unknown = [dataset for dataset in datasets if dataset.id not in last] if further else []
    await for_each(unknown, look_up, MAX_CONCURRENT_REQUESTS)
    return last


def _entry(dataset: Dataset, items: int | None, last: Experiment | None, size: AnswerSize) -> DatasetEntry:
    return DatasetEntry(
        name=dataset.name,
        items=items,
        last_run=run_name_of(last) if last else None,
        last_run_at=last.created if last else None,
        description=size.truncate_optional(dataset.description or None),
    )


def run_name_of(experiment: Experiment) -> str:
    """Return the name of the run that an experiment is, or is a repetition of."""
    provenance = Provenance.of(experiment.metadata)
    return provenance.repeats.group if provenance and provenance.repeats else experiment.name


def _steps_to_one(entries: Sequence[DatasetEntry]) -> list[NextStep]:
    if entries:
        return [NextStep("get_dataset", {"dataset": entries[0].name}, "Look at the items and runs of one.")]
    return [add_items_step("<name>", "There is no dataset: create one.")]


async def get_dataset(
    ws: Workspace, dataset: str, limit: int = 10, cursor: str | None = None, detail: Detail = "summary"
) -> DatasetDetail:
    """Show a dataset: a page of its items, and with the first page all else: metadata keys, runs, description.

    Args:
        limit: Items per page; fewer are shown if their texts are long.
        cursor: Where the page begins.
        detail: `full` cuts texts only if a single item is too long for an answer.

    Raises:
        NotFoundError: There is no such dataset.
        UsageError: The cursor is invalid.
    """
    start = read_cursor(cursor)
    found = await ws.gateway.datasets.get(dataset)
    items: Sequence[DatasetItem] | None = None
    held_out: Sequence[DatasetItem] = ()
    if found.holdout is None:
        page, total = await ws.gateway.datasets.items_page(found, start, limit)
    else:
        items, held_out = await ws.gateway.datasets.split_items(found)
        page, total = [*items[start : start + limit]], len(items)
    check_cursor(start, total, "items")
    head = DatasetDetail(
        backend=str(ws.gateway.backend), dataset=dataset, total_items=total, items=[], next=[_run_step(found, total)]
    )
    if cursor is None:
        head.held_out = len(held_out)
        items = page if len(page) == total else items or await _items_to_count(ws, dataset, total)
        head = truncate_answer(await _described(ws, head, found, items), MAX_HEAD_TOKENS)

    def build(size: AnswerSize) -> DatasetDetail:
        shown = page[: size.rows]
        end = start + len(shown)
        update = {
            "items": [_item(item, size) for item in shown],
            "next_cursor": write_cursor(end) if end < total else None,
        }
        return head.model_copy(update=update)

    return fit(build, limit, detail)


async def _described(
    ws: Workspace, head: DatasetDetail, dataset: Dataset, items: Sequence[DatasetItem]
) -> DatasetDetail:
    """Add what only the first page has: the dataset's own fields, the metadata of its items, its newest runs."""
    keys = count_metadata(item.metadata for item in items)
    runs = await list_runs(ws, dataset.name, RUNS_SHOWN)
    warnings = []
    if len(items) < head.total_items:
        warnings.append(f"Metadata are counted over the first {len(items):,} of {head.total_items:,} items.")
    if without := sum(item.expected_output is None for item in items):
        warnings.append(f"{without:,} of {len(items):,} items have no expected_output: evaluators get None there.")
    if len(keys) > MAX_KEYS:
        warnings.append(f"Of {len(keys):,} metadata keys, the {MAX_KEYS} that the most items have are shown.")
    if runs.next_cursor:
        warnings.append(f"The dataset has more runs than the newest {len(runs.runs)}: list_runs shows all.")
    runs_step = [list_runs_step(dataset.name, "See its runs with times and descriptions.")] if runs.runs else []
    update = {
        "description": dataset.description or None,
        "metadata": dataset.metadata or None,
        "metadata_keys": keys[:MAX_KEYS],
        "runs": {run.name: run.status or "unknown" for run in runs.runs},
        "warnings": warnings,
        "next": [*head.next, *runs_step],
    }
    return head.model_copy(update=update)


async def _items_to_count(ws: Workspace, name: str, total: int) -> list[DatasetItem]:
    """Read the first items of a dataset, as many as there are, or as a call may take."""
    wanted = min(total, MAX_COUNTED_ITEMS)
    items: list[DatasetItem] = []
    with anyio.move_on_after(COUNTING_PATIENCE_S):
        while len(items) < wanted:
            further, _ = await ws.gateway.datasets.items_page(name, len(items), min(ITEMS_AT_ONCE, wanted - len(items)))
            if not further:
                break
            items += further
    return items


def _item(item: DatasetItem, size: AnswerSize) -> DatasetItemEntry:
    return DatasetItemEntry(
        item_id=item.id,
        input=size.truncate(item.input),
        expected_output=size.truncate(item.expected_output),
        metadata={key: size.truncate(value) for key, value in item.metadata.items()} or None,
    )


def _run_step(dataset: Dataset, total: int) -> NextStep:
    if not total:
        return add_items_step(dataset.name)
    judged: dict[str, JsonValue] = {"use_langfuse_judges": True} if "judge_prompts" in dataset.metadata else {}
    why = "Run a task over the dataset."
    return run_step("run_experiment", dataset.name, "<new name>", why, task_script="<path>.py", **judged)
