"""Making a dataset of what a run or production has shown: items that fail, traces of a user, and the like."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from pydantic import JsonValue, ValidationError

from lfexp_mcp.answers.catalog import DatasetAnswer
from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import check_dataset_name
from lfexp_mcp.model import SOURCE_KEY, DatasetItem, ItemChoice, ItemResult
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.definitions.item_store import collected_id
from lfexp_mcp.services.definitions.new_items import CollectedItem, FieldNames, NewItem, OnItems
from lfexp_mcp.services.experiments.choosing import choose_items
from lfexp_mcp.services.production_traces import check_found, describe, find_traces, item_of_trace
from lfexp_mcp.services.requests import CollectRequest, TraceFilter
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_with_configs
from lfexp_mcp.services.workspace import Workspace


class DatasetArguments(TypedDict, total=False):
    """Those of `create_dataset`."""

    description: str | None
    items: Sequence[NewItem] | None
    items_file: Path | None
    fields: FieldNames | None
    metadata: dict[str, JsonValue] | None
    holdout: float | str | None
    on_progress: OnItems | None
    agreed: Collection[str] | None


async def fill_dataset(
    ws: Workspace, name: str, request: CollectRequest, **given: Unpack[DatasetArguments]
) -> DatasetAnswer:
    """Create a dataset, or add to the one of that name, from what is given, a run, or production traces.

    Each collected item is linked to its trace. Its id follows from the dataset and what it is collected from:
    collecting again adds what is new, and leaves items that are there as they are, since they may have been edited.

    Args:
        name: The dataset's name.
        request: What to collect, if anything.
        **given: See `create_dataset`. A collected dataset describes itself, unless there is a description.

    Raises:
        NotFoundError: There is no such dataset, run, score, item or key of metadata.
        UsageError: Nothing is to be collected, or from the dataset itself; or as `create_dataset`.
        BackendError: Langfuse failed; repeating the call stores the rest.
    """
    if not request.collects:
        return await create_dataset(ws, name, **given)
    if given.get("items") or given.get("items_file") is not None:
        raise UsageError(
            "Pass either items or items_file, or from_run, or traces: a call takes items from one of them."
        )
    check_dataset_name(name)
    if request.from_run is not None:
        found, notes, origin = await _from_run(ws, name, request.dataset or "", request.from_run, request.choice)
    else:
        found, notes, origin = await _from_traces(ws, name, request.traces or TraceFilter(), request.sample_size)
    existing = await ws.gateway.datasets.find(name)
    stored = await ws.gateway.datasets.items(existing) if existing else []
    new = list(_without(found, stored))
    if len(new) < len(found):
        notes.append(f"{len(found) - len(new)} of {len(found)} items were in {name!r} already, and stay as they are.")
    given["items"] = new
    if existing is None:
        given["description"] = given.get("description") or origin
    answer = await create_dataset(ws, name, **given)
    return answer.model_copy(update={"warnings": [*notes, *answer.warnings]})


def _without(items: Iterable[CollectedItem], stored: Sequence[DatasetItem]) -> Iterable[CollectedItem]:
    """Leave out what is there already; live mode once gave ids that did not follow from the trace."""
    ids = {item.id for item in stored}
    traces = {item.source_trace_id for item in stored if SOURCE_KEY not in item.metadata} - {None}
    return (
        item
        for item in items
        if item.id not in ids and (item.source_trace_id not in traces or SOURCE_KEY in (item.metadata or {}))
    )


async def _from_traces(
    ws: Workspace, name: str, wanted: TraceFilter, count: int
) -> tuple[list[CollectedItem], list[str], str]:
    found = await find_traces(ws, wanted, count)
    check_found(found, wanted)
    notes = list(found.notes)
    inputs = Counter(json.dumps(root.input, sort_keys=True) for root in found.roots)
    if alike := sum(times for times in inputs.values() if times > 1):
        notes.append(f"{alike} of the {len(found.roots)} traces have an input that another of them has too.")
    items = [item_of_trace(name, root) for root in reversed(found.roots)]
    return items, notes, describe(wanted, found.roots)


async def _from_run(
    ws: Workspace, name: str, dataset: str, run_name: str, choice: ItemChoice
) -> tuple[list[CollectedItem], list[str], str]:
    if name == dataset:
        raise UsageError(
            f"Items of a run on {dataset!r} are in that dataset already, and would be doubled. Name another dataset."
        )
    record = await read_run(ws, dataset, run_name)
    run = await interpret_with_configs(ws, record)
    results = _worst_results(run)
    known = await ws.gateway.datasets.items(dataset)
    in_run = [item for item in known if item.id in results]
    notes = []
    if choice.run is None:
        if missing := len(results) - len(in_run):
            notes.append(f"{missing} items of run {run_name!r} are no longer in dataset {dataset!r}, and are left out.")
        if record.status != "completed":
            notes.append(f"Run {run_name!r} is {record.status}: {len(results)} of its items have results.")
    if not in_run:
        raise UsageError(f"Run {run_name!r} has no results of items that dataset {dataset!r} has now.")
    chosen = await choose_items(ws, dataset, "", in_run, choice)
    notes += chosen.notes
    if choice.run is not None:
        notes.append("Items chosen by a low score do better next time by chance alone: confirm on all items.")
    if choice.run is not None and len(chosen.items) == len(in_run):
        notes.append(f"These are all {len(in_run)} items of run {run_name!r}.")
    made = [_item_of_result(name, dataset, run_name, item, results[item.id]) for item in chosen.items]
    items = [item for item in made if item is not None]
    if len(items) < len(made):
        notes.append(f"{len(made) - len(items)} items have no input, or one nested too deeply: left out.")
    which = "" if choice.is_whole else f" ({choice})"
    origin = f"Items of run {run_name!r} on dataset {dataset!r}{which}: {len(items)} of {len(results)} with results."
    return items, notes, origin


def _worst_results(run: ScoredRun) -> dict[str, ItemResult]:
    """Return one result of each item that has any: with repeats, one that failed, else that with the lowest score."""

    def goodness(item: ItemResult) -> tuple[bool, float, int]:
        scores = ((how, run.score_of(item, name)) for name, how in run.interpretations.items())
        values = [value for how, score in scores if score and (value := how.canonical(score)) is not None]
        return item.status == "succeeded", min(values, default=1.0), item.repeat

    worst: dict[str, ItemResult] = {}
    for item in run.record.items:
        if item.status != "pending" and (item.item_id not in worst or goodness(item) < goodness(worst[item.item_id])):
            worst[item.item_id] = item
    return worst


def _item_of_result(
    name: str, dataset: str, run_name: str, item: DatasetItem, result: ItemResult
) -> CollectedItem | None:
    """Make an item of a dataset's item; what the run answered is kept as a reference, not as the expected output.

    Returns:
        None for an item that cannot be stored.
    """
    source: dict[str, JsonValue] = {"dataset": dataset, "item_id": item.id, "run_name": run_name}
    source |= {"output": result.output} if result.error is None else {"error": result.error}
    if item.input is None:
        return None
    try:
        return CollectedItem(
            id=collected_id(name, dataset, item.id),
            input=item.input,
            expected_output=item.expected_output,
            metadata={**item.metadata, SOURCE_KEY: source},
            source_trace_id=result.trace_id,
            source_observation_id=result.observation_id,
        )
    except ValidationError:
        return None
