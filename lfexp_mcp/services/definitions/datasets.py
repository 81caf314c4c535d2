"""Creating datasets and adding items, one by one or from a file."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.answers.catalog import DatasetAnswer
from lfexp_mcp.errors import ConfirmationError, DataFileError, UsageError, name_some
from lfexp_mcp.gateway import Dataset, check_dataset_name, is_path_safe
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import DatasetItem, Holdout, NextStep, digest_of
from lfexp_mcp.services.definitions.dataset_files import read_items
from lfexp_mcp.services.definitions.holdouts import declare, notes_on
from lfexp_mcp.services.definitions.item_store import (
    REPORT_INTERVAL_S,
    ItemSurvey,
    content_digest,
    once_a_second,
    report_reading,
    store_items,
    survey_items,
)
from lfexp_mcp.services.definitions.new_items import FieldNames, NewItem, OnItems, check_json
from lfexp_mcp.services.next_steps import add_items_step, run_step
from lfexp_mcp.services.spending import shown_name
from lfexp_mcp.services.workspace import Workspace


async def create_dataset(
    ws: Workspace,
    name: str,
    *,
    description: str | None = None,
    items: Sequence[NewItem] | None = None,
    items_file: Path | None = None,
    fields: FieldNames | None = None,
    metadata: dict[str, JsonValue] | None = None,
    holdout: float | str | None = None,
    on_progress: OnItems | None = None,
    agreed: Collection[str] | None = None,
) -> DatasetAnswer:
    """Create a dataset, or add to the one of that name; items with a known id are replaced, unless they are held out.

    Everything is checked before anything is stored. A file is read twice rather than held in memory.

    Args:
        description: Its description; None leaves an existing one.
        items_file: A file of items to store, after `items`; see `read_items`.
        fields: Which keys or columns of the file hold the fields, where they have other names.
        metadata: The dataset's metadata; its `judge_prompts` names the judges of its runs.
        holdout: Items to set aside, see `declare`; None leaves the holdout of an existing dataset.
        on_progress: See `OnItems`.
        agreed: Questions that the user has agreed to; None where items may be replaced without one.

    Raises:
        ConfirmationError: The user has to agree first that items are replaced.
        UsageError: The name cannot be used, an item has no input, the metadata is not valid JSON, an id belongs to
            another dataset, or the dataset has another holdout; nothing has been stored then.
        DataFileError: The file cannot be read; nothing has been stored then, unless it was changed meanwhile.
        BackendError: Langfuse failed; the text says how many items are stored.
    """
    check_dataset_name(name)
    _check_metadata(name, metadata)
    if fields and items_file is None:
        raise UsageError("`fields` says how the file of items names its fields: pass `items_file` too, or omit it.")
    given = _GivenItems(ws, items or (), items_file, fields)
    asked = declare(holdout) if holdout is not None else None
    tell = once_a_second(on_progress)
    survey = await anyio.to_thread.run_sync(survey_items, name, given, tell)
    await tell(survey.progress())
    known = await _check_known(ws, name, survey, given, agreed, tell)
    dataset = await ws.gateway.datasets.upsert(name, description, metadata, asked)
    stays = _staying(known, await _held_out_ids(ws, dataset))
    changed = await store_items(ws, name, given(), survey, tell, stays=stays)
    return await _answer(ws, dataset, survey, changed, asked)


class _GivenItems:
    """The items of a call; each call of it reads them again."""

    def __init__(self, ws: Workspace, items: Sequence[NewItem], file: Path | None, fields: FieldNames | None) -> None:
        self._items = items
        self._file = ws.locate(file, "file of items", DataFileError) if file is not None else None
        self._fields = fields
        self._within = ws.allowed_folders
        self._state = self._file_state()

    def __call__(self) -> Iterator[NewItem]:
        """Yield them one by one.

        Raises:
            DataFileError: The file cannot be read, or is no longer what it was.
        """
        yield from self._items
        if self._file is not None:
            yield from read_items(self._file, self._fields, self._within)
            if self._file_state() != self._state:
                raise DataFileError(f"{self._file} was changed while it was read. Call again once it is complete.")

    def _file_state(self) -> tuple[int, int] | None:
        """Size and time of the file; None if there is none, of which reading it tells."""
        with suppress(OSError):
            found = self._file.stat() if self._file is not None else None
            return (found.st_size, found.st_mtime_ns) if found is not None else None
        return None


def _check_metadata(name: str, metadata: dict[str, JsonValue] | None) -> None:
    try:
        check_json(metadata)
    except ValueError as error:
        raise UsageError(f"The metadata of dataset {name!r} cannot be stored: {error}. Change it.") from None


async def _answer(
    ws: Workspace, dataset: Dataset, survey: ItemSurvey, changed: Sequence[str], asked: Holdout | None
) -> DatasetAnswer:
    datasets = ws.gateway.datasets
    if dataset.holdout is None:
        total, held_out = await datasets.count_items(dataset), 0
    else:
        total, held_out = map(len, await datasets.item_ids(dataset))
    notes = await notes_on(ws, dataset, asked, held_out, gave_ids=bool(survey.given_ids))
    return DatasetAnswer(
        backend=str(ws.gateway.backend),
        dataset=dataset.name,
        stored=survey.distinct,
        total_items=total,
        held_out=held_out,
        warnings=[*_warnings(survey, changed), *notes, *ws.gateway.backend.notes],
        next=[_next_step(dataset.name, total)],
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of an item that is there."""

    dataset_id: str | None
    content: bytes
    """Its digest."""
    is_held_out: bool


async def _check_known(
    ws: Workspace,
    name: str,
    survey: ItemSurvey,
    given: Callable[[], Iterator[NewItem]],
    agreed: Collection[str] | None,
    tell: OnItems,
) -> dict[str, _Known]:
    """Return what is known of the items that have the given ids already.

    Raises:
        ConfirmationError: Some would be replaced, to which the user has not agreed.
        UsageError: Some are of other datasets.
    """
    known = await _find_known(ws, name, survey, tell)
    if known:
        await _check_ids(ws, name, known)
    if known and agreed is not None:
        await _check_replaced(name, survey, given, known, agreed, tell)
    return known


def _staying(known: Mapping[str, _Known], held_out: Collection[str]) -> Callable[[str, NewItem], bool]:
    """Tell of which items those stay that are there: held-out ones, and those that are as given."""

    def stays(id_: str, item: NewItem) -> bool:
        return id_ in held_out or (id_ in known and known[id_].content == content_digest(item))

    return stays


async def _find_known(ws: Workspace, name: str, survey: ItemSurvey, tell: OnItems) -> dict[str, _Known]:
    """Look for the items of the ids that were given, in whatever dataset they are."""
    if not survey.given_ids:
        return {}
    dataset = await ws.gateway.datasets.find(name)
    holdout = dataset.holdout if dataset is not None else None

    looked_at = 0

    def read(item: DatasetItem) -> _Known:
        nonlocal looked_at
        looked_at += 1
        is_held_out = holdout is not None and holdout.holds(item.id, item.metadata)
        return _Known(item.dataset_id, content_digest(item), is_held_out)

    async def report() -> None:
        while True:
            before = looked_at
            await anyio.sleep(REPORT_INTERVAL_S)
            if looked_at > before:
                await tell(survey.progress())

    async with open_group() as group:
        group.start_soon(report)
        known = await ws.gateway.datasets.find_items(survey.given_ids, read)
        group.cancel_scope.cancel()
    if dataset is not None and not all(map(is_path_safe, survey.given_ids)):
        # Not each of them was looked for by its id.
        known |= {item.id: read(item) for item in await ws.gateway.datasets.items(dataset)}
    return known


async def _check_replaced(
    name: str,
    survey: ItemSurvey,
    given: Callable[[], Iterator[NewItem]],
    known: Mapping[str, _Known],
    agreed: Collection[str],
    tell: OnItems,
) -> None:
    """Refuse to change items that are there, unless the user has agreed to it; held-out ones are never changed."""

    def changed() -> list[str]:
        return [
            item.id
            for position, item in enumerate(report_reading(given(), lambda _: survey.progress(), tell))
            if item.id is not None
            and item.id in known
            and survey.last.get(item.id) == position
            and not known[item.id].is_held_out
            and known[item.id].content != content_digest(item)
        ]

    replaced = await anyio.to_thread.run_sync(changed)
    digest = digest_of(f"{item_id}{known[item_id].content.hex()}" for item_id in replaced)[:8]
    items = f"{len(replaced)} item{'s' if len(replaced) > 1 else ''}"
    question = f"Replace {items} of dataset {shown_name(name)}? What is there now is lost. (Its state: {digest}.)"
    if replaced and question not in agreed:
        raise ConfirmationError("The user has to agree that items are replaced; nothing was stored.", question)


async def _held_out_ids(ws: Workspace, dataset: Dataset) -> set[str]:
    return set() if dataset.holdout is None else (await ws.gateway.datasets.item_ids(dataset))[1]


async def _check_ids(ws: Workspace, name: str, known: Mapping[str, _Known]) -> None:
    """Refuse ids that belong to items of other datasets before anything is stored: datasets cannot be deleted."""
    own = {dataset.id for dataset in await ws.gateway.datasets.all() if dataset.name == name}
    taken = [item_id for item_id, item in known.items() if item.dataset_id not in own]
    if taken:
        raise UsageError(
            f"Items of other datasets of this project have these ids: {name_some(sorted(taken))}. Nothing was stored. "
            "Give the items other ids, or omit the ids."
        )


def _warnings(survey: ItemSurvey, changed: Sequence[str]) -> list[str]:
    warnings = []
    if survey.without_reference:
        warnings.append(
            f"{survey.without_reference} of {survey.given} items have no expected_output: evaluators get None there."
        )
    if repeated := survey.given - survey.distinct:
        warnings.append(f"{repeated} items are the same as, or have the id of, a later item in the call: left out.")
    if changed:
        warnings.append(
            f"Langfuse stored {len(changed)} items differently (control characters, long numbers): "
            f"{name_some(sorted(changed))}."
        )
    return warnings


def _next_step(name: str, total: int) -> NextStep:
    if not total:
        return add_items_step(name)
    return run_step("run_experiment", name, "baseline", "Run a task over the dataset.", task_script="<path>.py")
