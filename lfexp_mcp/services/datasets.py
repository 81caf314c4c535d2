"""Creating datasets and adding items, one by one or from a file."""

import csv
import hashlib
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import JsonValue, TypeAdapter, ValidationError

from lfexp_mcp.answers.base import NextStep
from lfexp_mcp.answers.dataset import DatasetAnswer
from lfexp_mcp.errors import DataFileError, UsageError
from lfexp_mcp.groups import open_group
from lfexp_mcp.services.items import FieldNames, NewItem
from lfexp_mcp.services.workspace import Workspace

CONNECTIONS = 8
"""Items stored at once: Langfuse takes one a request."""

_ITEM = TypeAdapter(NewItem)
FIELDS = frozenset(NewItem.model_fields)


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
        UsageError: The name is empty, an item has no input, or an id belongs to another dataset.
        DataFileError: The file cannot be read; nothing has been stored then.
    """
    if not name.strip():
        raise UsageError("The dataset needs a name. Pass one, such as 'support-questions'.")
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


def read_items(path: Path, fields: FieldNames | None = None) -> list[NewItem]:
    """Read a JSONL or CSV file of dataset items.

    Raises:
        DataFileError: The file is missing, of another kind, not UTF-8, or has a broken line; the text names the line.
    """
    readers = {".jsonl": _jsonl_rows, ".ndjson": _jsonl_rows, ".csv": _csv_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataFileError(f"{path} is neither .jsonl nor .csv. Save the items as one of the two.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataFileError(
            f"There is no file {path}. Pass an absolute path, or one relative to {Path.cwd()}."
        ) from None
    except (OSError, UnicodeDecodeError) as broken:
        raise DataFileError(f"{path} cannot be read: {broken}. Save it as a UTF-8 text file.") from broken
    items = [_item(path, line, _renamed(row, fields or {})) for line, row in reader(path, text)]
    if not items:
        raise DataFileError(f"{path} holds no items. Write one JSON object a line, each with an `input`.")
    return items


def _jsonl_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as broken:
            raise DataFileError(f"{path}, line {number} is no JSON ({broken}). Nothing was stored; mend it.") from None
        if not isinstance(row, dict):
            raise DataFileError(
                f"{path}, line {number} is no JSON object but {type(row).__name__}. Nothing was stored; "
                'write {"input": …} there.'
            )
        yield number, row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    reader = csv.DictReader(StringIO(text), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataFileError(
                    f"{path}, line {reader.line_num} has another number of cells than the header. "
                    "Nothing was stored; mend it."
                )
            yield reader.line_num, {column: _cell(cell) for column, cell in row.items()}
    except csv.Error as broken:
        raise DataFileError(
            f"{path}, line {reader.line_num} is broken CSV ({broken}). Nothing was stored; mend it."
        ) from None


def _cell(cell: str) -> JsonValue:
    """Decode a CSV cell: empty is nothing, an object or list is JSON, anything else is text."""
    if not cell:
        return None
    if cell.startswith(("{", "[")):
        try:
            decoded: JsonValue = json.loads(cell)
        except ValueError:
            return cell
        return decoded
    return cell


def _renamed(row: dict[str, JsonValue], fields: FieldNames) -> dict[str, JsonValue]:
    renamed = {key: value for key, value in row.items() if key not in fields.values()}
    renamed.update((field, row[key]) for field, key in fields.items() if key in row)
    return renamed


def _item(path: Path, line: int, row: dict[str, JsonValue]) -> NewItem:
    known = {key: value for key, value in row.items() if key in FIELDS}
    if "input" not in known:
        raise DataFileError(
            f"{path}, line {line} has no `input`. Nothing was stored; say which key holds it, such as "
            f"fields={{'input': 'question'}} (found: {', '.join(sorted(row)) or 'nothing'})."
        )
    rest = {key: value for key, value in row.items() if key not in FIELDS}
    metadata = known.get("metadata")
    if rest and (metadata is None or isinstance(metadata, dict)):
        known["metadata"] = {**(metadata or {}), **rest}
    try:
        return _ITEM.validate_python(known)
    except ValidationError as wrong:
        issue = wrong.errors()[0]
        where = ".".join(str(part) for part in issue["loc"])
        raise DataFileError(f"{path}, line {line}: {where}: {issue['msg']}. Nothing was stored; mend it.") from None


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
        return [NextStep(tool="create_dataset", arguments={"name": name}, why="The dataset is empty: add items.")]
    arguments: dict[str, JsonValue] = {"dataset": name, "run_name": "baseline", "task_script": "/path/to/task.py"}
    return [NextStep(tool="run_experiment", arguments=arguments, why="Run a task over the dataset.")]
