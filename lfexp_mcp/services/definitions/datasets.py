"""Creating datasets and adding items, one by one or from a file."""

import hashlib
import json
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.answers.base import NextStep
from lfexp_mcp.answers.dataset import DatasetAnswer
from lfexp_mcp.errors import UsageError
from lfexp_mcp.groups import open_group
from lfexp_mcp.services.definitions.dataset_files import read_items
from lfexp_mcp.services.definitions.items import FieldNames, NewItem, refuse_what_json_has_not
from lfexp_mcp.services.workspace import Workspace

CONNECTIONS = 8
"""Items stored at once: Langfuse takes one a request."""


async def create_dataset(
    ws: Workspace,
    name: str,
    *,
    description: str | None = None,
    items: list[NewItem] | None = None,
    items_file: Path | None = None,
    fields: FieldNames | None = None,
    metadata: dict[str, JsonValue] | None = None,
) -> DatasetAnswer:
    """Create a dataset or add to the one that has the name; items with a known id are replaced.

    Args:
        ws: The workspace.
        name: The dataset's name.
        description: Its description; None leaves an existing one.
        items: Items to store.
        items_file: A file of items to store: JSONL (an object a line) or CSV (a header line, then a row an item).
            Keys and columns are those of `NewItem`; every other key or column goes into the item's metadata, and a
            file with none of `input` is refused. CSV cells that hold a JSON object or list are decoded.
        fields: Which keys or columns of the file hold the fields, where they have other names.
        metadata: The dataset's metadata; its `judge_prompts` names the judges of its runs.

    Raises:
        UsageError: The name is empty, an item has no input, the metadata is no JSON, or an id belongs to another
            dataset.
        DataFileError: The file cannot be read; nothing has been stored then.
    """
    if not name.strip():
        raise UsageError("The dataset needs a name. Pass one, such as 'support-questions'.")
    try:
        refuse_what_json_has_not(metadata)
    except ValueError as wrong:
        raise UsageError(f"The metadata of dataset {name!r} cannot be stored: {wrong}. Mend it.") from None
    new_items = list(items or [])
    if items_file is not None:
        new_items += await anyio.to_thread.run_sync(read_items, items_file, fields)
    _refuse_missing_input(new_items)
    dataset = await ws.gateway.upsert_dataset(name, description, metadata)
    await _store_items(ws, name, new_items)
    total = len(await ws.gateway.dataset_items(name))
    return DatasetAnswer(
        backend=ws.gateway.backend,
        dataset=name,
        dataset_id=dataset.id,
        stored=len(new_items),
        total_items=total,
        warnings=_warnings(name, new_items),
        next=_next_steps(name, total),
    )


async def _store_items(ws: Workspace, dataset_name: str, items: list[NewItem]) -> None:
    limiter = anyio.CapacityLimiter(CONNECTIONS)

    async def store(item: NewItem) -> None:
        async with limiter:
            await ws.gateway.upsert_dataset_item(
                dataset_name,
                id=_id(dataset_name, item),
                input=item.input,
                expected_output=item.expected_output,
                metadata=item.metadata,
            )

    async with open_group() as group:
        for item in items:
            group.start_soon(store, item)


def _id(dataset_name: str, item: NewItem) -> str:
    return item.id or derived_id(dataset_name, item)


def derived_id(dataset_name: str, item: NewItem) -> str:
    """Return the id of an item that came without one: a hash of the dataset's name and the item's content."""
    content = json.dumps([dataset_name, item.model_dump(exclude={"id"})], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _refuse_missing_input(items: list[NewItem]) -> None:
    for number, item in enumerate(items, start=1):
        if item.input is None:
            raise UsageError(f"Item {number} ({item.id or 'without id'}) has no input. Give each item an `input`.")


def _warnings(dataset_name: str, items: list[NewItem]) -> list[str]:
    without = sum(item.expected_output is None for item in items)
    warnings = []
    if without:
        warnings.append(f"{without} of {len(items)} items have no expected_output: evaluators get None there.")
    repeated = len(items) - len({_id(dataset_name, item) for item in items})
    if repeated:
        warnings.append(f"{repeated} items are the same as, or have the id of, another item in the call: stored once.")
    return warnings


def _next_steps(name: str, total: int) -> list[NextStep]:
    if not total:
        filled: dict[str, JsonValue] = {"name": name, "items_file": "<path>.jsonl"}
        return [NextStep(tool="create_dataset", arguments=filled, why="The dataset is empty: add items.")]
    arguments: dict[str, JsonValue] = {"dataset": name, "run_name": "baseline", "task_script": "<path>.py"}
    return [NextStep(tool="run_experiment", arguments=arguments, why="Run a task over the dataset.")]
