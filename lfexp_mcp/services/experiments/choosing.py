"""Choosing the items of a run."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.gateway import SpooledItems
from lfexp_mcp.model import DatasetItem, DatasetPart, ItemChoice, digest_of
from lfexp_mcp.services.metadata_conditions import select
from lfexp_mcp.services.next_steps import add_items_step, resume_step
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.result_filter import choose_results
from lfexp_mcp.services.runs.scored_run import interpret_with_configs
from lfexp_mcp.services.workspace import Workspace

MAX_ID_SHOWN = 100
FORMS = "Items are chosen by a number (a sample), ids, a condition on metadata such as `language=de`, or `all`."


@dataclass(frozen=True, slots=True)
class ChosenItems:
    """The items of a run."""

    items: SpooledItems
    """In the order of the dataset."""
    part: DatasetPart | None = None
    """None for the whole dataset."""
    dataset_version: datetime | None = None
    """When an item of the dataset, chosen or not, was changed last; None if that is not known."""
    notes: tuple[str, ...] = ()
    """What the caller should know about the choice."""


@dataclass(frozen=True, slots=True)
class _Placed:
    place: int
    metadata: Mapping[str, JsonValue]


async def choose_items(
    ws: Workspace, dataset: str, run_name: str, items: Sequence[DatasetItem], choice: ItemChoice | None
) -> ChosenItems:
    """Choose items of a dataset.

    A sample is drawn by the hash of the items' ids: it is the same on every machine, a larger one contains a smaller,
    and items that are added or removed displace no others than they have to.

    Args:
        run_name: The run that they are for.
        choice: None for all.

    Raises:
        NotFoundError: There is no such item, metadata key, run or score.
        UsageError: Nothing is chosen, or the choice has two meanings.
    """
    if not items:
        raise UsageError(f"Dataset {dataset!r} has no items.", next=[add_items_step(dataset, "Add items.")])
    if choice is None or choice.is_whole:
        return ChosenItems(SpooledItems.of(items), dataset_version=last_change(items))
    left, notes = SpooledItems.of(items), list[str]()
    if choice.ids:
        left = _with_ids(dataset, left, choice.ids)
    if choice.run is not None:
        found, more = await _ids_by_results(ws, dataset, run_name, choice)
        chosen = _with(left, found)
        if not chosen:
            raise UsageError(f"Nothing is chosen: of {len(items)} items of dataset {dataset!r}, none is {choice}.")
        if gone := found.difference(item.id for item in items):
            more.append(f"{len(gone)} of the items chosen by run {choice.run!r} are not in the dataset now.")
        left, notes = chosen, [*notes, *more]
    if choice.where is not None:
        placed, more = select([_Placed(place, item.metadata) for place, item in enumerate(left)], choice.where)
        left = left.choose(each.place for each in placed)
        notes += more
    if choice.sample is not None:
        notes += _sample_notes(left, choice.sample)
        drawn = set(sorted((item.id for item in left), key=_place_in_samples)[: choice.sample])
        left = _with(left, drawn)
    return ChosenItems(left, _part(left, len(items), choice), last_change(items), tuple(notes))


async def choose_again(
    ws: Workspace,
    dataset: str,
    request: RunRequest,
    items: Sequence[DatasetItem],
    part: DatasetPart | None,
    has: Collection[str],
) -> ChosenItems:
    """Choose the items of a run that another machine began: those that it had, or more.

    Args:
        request: The resume.
        part: The part that the run is about.
        has: The ids of the items that have results.

    Raises:
        UsageError: Which items it had can no longer be told, or the request leaves out some.
    """
    if request.items is not None or part is None:
        chosen = await choose_items(ws, dataset, request.run_name, items, request.items)
        _check_wider(dataset, request.run_name, chosen, has, items)
        return chosen
    if not part.ids_left_out:
        chosen = await choose_items(ws, dataset, request.run_name, items, part.choice)
        if digest_of(item.id for item in chosen.items) == part.digest:
            return chosen
    raise UsageError(
        f"Run {request.run_name!r} is about a part of the dataset ({part.choice}), of which this machine cannot tell "
        "the items: they are too many to be recorded, or the dataset or another run has changed since. Pass the "
        "`items` to go on with.",
        next=[request.step("Go on to all items of the dataset.", items=ItemChoice())],
    )


async def choose_wider(
    ws: Workspace, dataset: str, request: RunRequest, part: DatasetPart | None, kept: Sequence[DatasetItem]
) -> ChosenItems | None:
    """Choose the items that a resume adds to a run of this machine, whose own stay as they were when it began.

    Args:
        request: The resume.
        part: The part that the run is about.
        kept: The items that it has.

    Returns:
        The items of the run first, then the others; None to keep those that it has.

    Raises:
        UsageError: The request leaves out items that the run has.
    """
    choice = request.items
    if choice is None or (part is not None and part.choice == choice):
        return None
    items = await ws.gateway.datasets.items(dataset)
    wider = await choose_items(ws, dataset, request.run_name, items, choice)
    if part is not None and wider.part is not None and part.digest == wider.part.digest:
        return None
    before = {item.id: place for place, item in enumerate(kept)}
    _check_wider(dataset, request.run_name, wider, before, items)
    changed = sum(item.id in before and _has_changed(kept[before[item.id]], item) for item in items)
    notes = list(wider.notes)
    if changed:
        notes.append(f"{changed} items have changed in the dataset since the run began; it keeps them as they were.")
    added = (item for item in wider.items if item.id not in before)
    all_ids = before.keys() | {item.id for item in items}
    chosen = SpooledItems(chain(kept, added))
    return ChosenItems(chosen, _part(chosen, len(all_ids), choice), wider.dataset_version, tuple(notes))


def _has_changed(before: DatasetItem, now: DatasetItem) -> bool:
    return (before.input, before.expected_output) != (now.input, now.expected_output)


def _check_wider(
    dataset: str, run_name: str, wider: ChosenItems, has: Collection[str], items: Sequence[DatasetItem]
) -> None:
    """Check that a choice leaves out no item that a run has, except those that the dataset no longer has."""
    left_out = {item.id for item in items}.intersection(has).difference(item.id for item in wider.items)
    if left_out:
        raise UsageError(
            f"Run {run_name!r} has {len(has)} items, of which this choice leaves out {len(left_out)}: a resume only "
            "adds items. Omit `items` to finish those that it has, choose more, or use another run name.",
            next=[
                resume_step(dataset, run_name, why="Finish the items that it has."),
                resume_step(dataset, run_name, {"items": "all"}, "Go on to all items of the dataset."),
            ],
        )


def _part(chosen: Sequence[DatasetItem], of: int, choice: ItemChoice) -> DatasetPart | None:
    return DatasetPart.chosen(choice, (item.id for item in chosen), of) if len(chosen) < of else None


def last_change(items: Sequence[DatasetItem]) -> datetime | None:
    """Return when one of some items was changed last; None if that is not known."""
    return max((item.updated for item in items if item.updated is not None), default=None)


def _place_in_samples(item_id: str) -> bytes:
    return hashlib.sha256(f"lfexp-sample-v1/{item_id}".encode("utf-8", "surrogatepass")).digest()


def _sample_notes(items: Sequence[DatasetItem], sample: int) -> list[str]:
    if sample > len(items):
        return [f"There are {len(items)} items to draw {sample} from: all are run."]
    if any(item.id == str(sample) for item in items):
        return [f"{sample} is a sample of that size; the item of that id is chosen by a list, ['{sample}']."]
    return []


def _with(items: SpooledItems, ids: Collection[str]) -> SpooledItems:
    return items.choose(place for place, item in enumerate(items) if item.id in ids)


def _with_ids(dataset: str, items: SpooledItems, ids: Sequence[str]) -> SpooledItems:
    known = {item.id for item in items}
    unknown = [item_id for item_id in ids if item_id not in known]
    if unknown:
        others = f"{len(unknown)} of {len(ids)} ids are not there. " if len(unknown) > 1 else ""
        raise NotFoundError.of(
            f"active item of dataset {dataset!r}",
            unknown[0][:MAX_ID_SHOWN],
            [item.id for item in items],
            f"{others}It may be archived, or of another dataset. {FORMS}",
        )
    return _with(items, set(ids))


async def _ids_by_results(ws: Workspace, dataset: str, run_name: str, choice: ItemChoice) -> tuple[set[str], list[str]]:
    """Choose items by their results in another run; return their ids, and notes."""
    other = choice.run or ""
    if other == run_name:
        why = "Run again what failed or is missing in it."
        raise UsageError(
            f"Run {other!r} cannot choose its own items; a resume runs again what failed in it.",
            next=[resume_step(dataset, run_name, why=why)],
        )
    record = await read_run(ws, dataset, other)
    run = await interpret_with_configs(ws, record)
    notes = []
    if record.status != "completed":
        ended = sum(item.status != "pending" for item in record.items)
        notes.append(f"Run {other!r} is {record.status}: chosen by {ended} of its {record.total_items} results.")
    results, more = choose_results(run, choice.which, choice.score, choice.below)
    return {item.item_id for item in results}, [*notes, *more]
