"""Datasets and their items.

What is held out (`lfexp_mcp.model.Holdout`) is left out of all reads, unless `held_out` asks for it and nothing else.
"""

import unicodedata
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import quote

from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, RejectedError, UsageError
from lfexp_mcp.gateway.known_holdouts import KnownHoldouts
from lfexp_mcp.gateway.records import Dataset, ProjectHoldouts
from lfexp_mcp.gateway.spooled_items import SpooledItems
from lfexp_mcp.gateway.transport import MAX_CONCURRENT_PAGES, PAGE_SIZE, NumberedPage, Transport, without_none
from lfexp_mcp.gateway.wire import DatasetItemRow
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import HOLDOUT_KEY, DatasetItem, Holdout, NextStep

T = TypeVar("T")

MAX_PATH_CHARS = 6000
"""Of an encoded name in a path: servers and proxies refuse URLs of 8 KB."""
_ITEMS = "/dataset-items"
_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters (tabs and line breaks among them), halves of surrogate pairs, line and paragraph separators."""


class Datasets:
    """Reads and makes datasets, and reads their items."""

    def __init__(self, transport: Transport, known_holdouts: KnownHoldouts) -> None:
        self._transport = transport
        self.known_holdouts = known_holdouts

    async def all(self) -> list[Dataset]:
        """Return all datasets, newest first. A holdout may have a `problem`, of which the items then cannot be read."""
        return await self._transport.all_pages("list the datasets", "/v2/datasets", Dataset)

    async def page(self, start: int, count: int) -> tuple[list[Dataset], int]:
        """Return up to `count` datasets from position `start` on, newest first, and how many there are in all."""
        return await self._transport.slice("list the datasets", "/v2/datasets", Dataset, start=start, count=count)

    async def get(self, name: str) -> Dataset:
        """Return the dataset of that name.

        Raises:
            NotFoundError: There is none; the text names the nearest datasets.
            UsageError: No dataset can have such a name, or it cannot be told which of its items are held out.
        """
        found = await self.find(name)
        if found is not None:
            self.known_holdouts.check(found)
            return found
        known = [dataset.name for dataset in await self.all()]
        create = NextStep("create_dataset", {"name": name}, "Create it.")
        advice = " ".join(self._transport.backend.notes)
        listing = NextStep("list_datasets", {}, "See which datasets there are.")
        raise NotFoundError.of("dataset", name, known, advice, next=[create, listing])

    async def find(self, name: str) -> Dataset | None:
        """Return the dataset of that name, None if there is none; its holdout may have a `problem`.

        Raises:
            UsageError: No dataset can have such a name.
        """
        check_dataset_name(name)
        try:
            return await self._transport.get(f"read dataset {name!r}", f"/v2/datasets/{_encode_twice(name)}", Dataset)
        except RejectedError as refused:
            if refused.status != 404:
                raise
            return None

    async def upsert(
        self,
        name: str,
        description: str | None = None,
        metadata: dict[str, JsonValue] | None = None,
        holdout: Holdout | None = None,
    ) -> Dataset:
        """Create a dataset, or change the description and metadata of the one that has the name.

        Args:
            description: None keeps the one that it has.
            metadata: Replaces all that it has but the holdout; None keeps it.
            holdout: To declare; None keeps the one that it has.

        Raises:
            UsageError: A dataset of this name could not be read again, or it has another holdout, or one that cannot be
                read.
        """
        if HOLDOUT_KEY in (metadata or {}):
            raise UsageError(f"The metadata of dataset {name!r} cannot have {HOLDOUT_KEY!r}: pass `holdout` instead.")
        existing = await self.find(name)
        kept = holdout
        if existing is not None:
            if holdout is None or existing.holdout is not None:
                self.known_holdouts.check(existing)
            kept = existing.holdout or self.known_holdouts.find(existing.id) or holdout
            if kept is not None and holdout is not None and not kept.is_same_rule(holdout):
                raise UsageError(
                    f"Dataset {name!r} has a holdout already ({kept}), which stays as it is: with another one, items "
                    "that have been set aside would be shown. Omit `holdout`."
                )
        if kept is not None and (metadata is not None or holdout is not None):
            own = existing.metadata if metadata is None and existing is not None else metadata
            metadata = {**(own or {}), HOLDOUT_KEY: kept.as_json()}
        fields: dict[str, JsonValue] = {"name": name, "description": description, "metadata": metadata}
        body = without_none(fields)
        stored = await self._transport.post(f"create dataset {name!r}", "/v2/datasets", Dataset, body)
        self.known_holdouts.check(stored)
        return stored

    async def items(self, dataset: Dataset | str, *, held_out: bool = False) -> SpooledItems:
        """Return a dataset's active items, oldest first.

        Args:
            dataset: The dataset as it was just read, since a holdout may be declared at any time; or its name.
            held_out: Those that are held out instead of all others.

        Raises:
            NotFoundError: There is no such dataset.
            UsageError: It cannot be told which of its items are held out.
        """
        return (await self.split_items(dataset))[held_out]

    async def split_items(self, dataset: Dataset | str) -> tuple[SpooledItems, SpooledItems]:
        """Return a dataset's items as `items` does: all others, and those that are held out, of which to show none."""
        dataset = await self._readable(dataset)
        read, ids, pages = SpooledItems(), list[str](), dict[int, range]()
        kinds: list[Literal["open", "held out", "archived"]] = []

        def take(number: int, rows: list[DatasetItemRow]) -> None:
            pages[number] = range(len(ids), len(ids) + len(rows))
            for row in rows:
                is_held_out = dataset.holdout is not None and dataset.holdout.holds(row.id, row.metadata)
                kinds.append("archived" if row.status != "ACTIVE" else "held out" if is_held_out else "open")
                ids.append(row.id)
                read.append(row.item())

        await self._take_rows(dataset.name, take)
        newest_first = (position for number in sorted(pages) for position in pages[number])
        # An item added meanwhile moves others to a page that is yet to be read, where they come again.
        known = {ids[position]: position for position in newest_first}
        oldest_first = [*reversed(known.values())]
        return (
            read.choose(position for position in oldest_first if kinds[position] == "open"),
            read.choose(position for position in oldest_first if kinds[position] == "held out"),
        )

    async def holdout(self, dataset: Dataset) -> Holdout | None:
        """Return a dataset's holdout, ready to tell which results are held out; None if it has none."""
        holdout = (await self._readable(dataset)).holdout
        if holdout is None or holdout.key is None:
            return holdout
        ids: set[str] = set()

        def take(_number: int, rows: list[DatasetItemRow]) -> None:
            ids.update(row.id for row in rows if not holdout.holds(row.id, row.metadata))

        await self._take_rows(dataset.name, take)
        return replace(holdout, open_ids=frozenset(ids))

    async def project_holdouts(self) -> ProjectHoldouts | None:
        """Return the holdouts of all datasets; None if there is none. One that cannot be read holds out everything."""
        found: dict[str, Holdout] = {}
        sources: set[str] = set()
        for dataset in await self.all():
            if dataset.holdout is None and self.known_holdouts.find(dataset.id) is None:
                continue
            try:
                holdout = await self.holdout(dataset) or Holdout(problem="It was given up just now.")
            except UsageError as unreadable:
                holdout = Holdout(problem=str(unreadable))
            found[dataset.id] = holdout
            await self._take_rows(dataset.name, partial(_take_sources, holdout, sources))
        return ProjectHoldouts(found, frozenset(sources)) if found else None

    async def _readable(self, dataset: Dataset | str) -> Dataset:
        """Return a dataset of which it can be told what is held out, read if it is given by name."""
        if not isinstance(dataset, Dataset):
            return await self.get(dataset)
        self.known_holdouts.check(dataset)
        return dataset

    async def _take_rows(self, dataset_name: str, take: Callable[[int, list[DatasetItemRow]], None]) -> None:
        """Read a dataset's items, newest first, and give each page's number and rows to a function."""
        what = f"read the items of dataset {dataset_name!r}"
        await self._transport.take_pages(what, _ITEMS, DatasetItemRow, take, {"datasetName": dataset_name})

    async def items_page(self, dataset: Dataset | str, start: int, count: int) -> tuple[list[DatasetItem], int]:
        """Return up to `count` items as `items` does, from position `start` on, and how many there are in all.

        Of a dataset with a holdout, all items are read.
        """
        dataset = await self._readable(dataset)
        if dataset.holdout is not None:
            items = await self.items(dataset)
            return [*items[start : start + count]], len(items)
        dataset_name = dataset.name
        total = await self._count(dataset_name)
        # Langfuse lists the newest first.
        newest, end = max(total - start - count, 0), max(total - start, 0)
        if newest == end:
            return [], total
        what, query = f"read items of dataset {dataset_name!r}", {"datasetName": dataset_name}
        rows, _ = await self._transport.slice(what, _ITEMS, DatasetItemRow, query, start=newest, count=end - newest)
        return [row.item() for row in reversed(rows)], total

    async def count_items(self, dataset: Dataset | str) -> int:
        """Return how many items `items` has. Of a dataset with a holdout, all are read."""
        dataset = await self._readable(dataset)
        if dataset.holdout is None:
            return await self._count(dataset.name)
        return len((await self.item_ids(dataset))[0])

    async def item_ids(self, dataset: Dataset) -> tuple[set[str], set[str]]:
        """Return the ids of a dataset's items as `split_items` does, without holding what the items hold."""
        holdout = (await self._readable(dataset)).holdout
        ids: tuple[set[str], set[str]] = (set(), set())

        def take(_number: int, rows: list[DatasetItemRow]) -> None:
            for row in rows:
                if row.status == "ACTIVE":
                    ids[holdout is not None and holdout.holds(row.id, row.metadata)].add(row.id)

        await self._take_rows(dataset.name, take)
        return ids

    async def _count(self, dataset_name: str | None = None) -> int:
        """Return how many active items a dataset has, or the whole project, held-out ones included."""
        query = {"datasetName": dataset_name, "page": 1, "limit": 1}
        page = await self._transport.get("count the dataset items", _ITEMS, NumberedPage[DatasetItemRow], query)
        return page.meta.total_items

    async def find_items(self, item_ids: Collection[str], read: Callable[[DatasetItem], T]) -> dict[str, T]:
        """Return what is to be known of items of any dataset, by their ids; ids that do not exist are left out.

        Args:
            item_ids: Of held-out items too.
            read: Takes of an item what to return; what is left of 100,000 items should be small.

        The items of the whole project are listed if that takes fewer requests than to ask for each by its id. The list
        leaves out archived items. Ids that hold a percent sign are never asked for one by one, since it is not known
        whether servers decode the path of an item once or twice.
        """
        found: dict[str, T] = {}

        def take(_number: int, rows: list[DatasetItemRow]) -> None:
            found.update((row.id, read(row.item())) for row in rows if row.id in item_ids)

        if await self._count() // PAGE_SIZE + 1 < len(item_ids):
            await self._transport.take_pages("list all dataset items", _ITEMS, DatasetItemRow, take)
            return found

        async def look_up(item_id: str) -> None:
            path = f"{_ITEMS}/{quote(item_id, safe='')}"
            try:
                row = await self._transport.get(f"look up item {item_id!r}", path, DatasetItemRow)
            except RejectedError as refused:
                if refused.status != 404:
                    raise
            else:
                take(1, [row])

        await for_each(filter(is_path_safe, item_ids), look_up, MAX_CONCURRENT_PAGES)
        return found


def _take_sources(holdout: Holdout, sources: set[str], _number: int, rows: list[DatasetItemRow]) -> None:
    held_out = (row for row in rows if holdout.holds(row.id, row.metadata))
    sources.update(row.source_trace_id for row in held_out if row.source_trace_id)


def check_dataset_name(name: str) -> None:
    """Refuse a name by which a dataset could not be read again.

    Raises:
        UsageError: The name is empty, `.` or `..`, too long, or holds a line break or another control character.
    """
    if not name.strip():
        raise UsageError("The dataset needs a name. Pass one, such as 'support-questions'.")
    if name in (".", ".."):
        raise UsageError(f"A dataset cannot be named {name!r}: its URL would lead elsewhere. Choose another name.")
    if any(unicodedata.category(character) in _CONTROL_CATEGORIES for character in name):
        raise UsageError(
            f"A dataset cannot be named {name[:100]!r}: it contains a line break or another control character. "
            "Choose a name on one line."
        )
    if len(_encode_twice(name)) > MAX_PATH_CHARS:
        raise UsageError(f"The dataset name {name[:40]!r}… is too long for an address. Choose a shorter name.")


def is_path_safe(item_id: str) -> bool:
    """Whether every server understands a path that names the item."""
    return "%" not in item_id and item_id not in (".", "..")


def _encode_twice(name: str) -> str:
    """Encode a name for the path of a dataset, which Langfuse decodes twice (seen on 4.16.0)."""
    return quote(quote(name, safe=""), safe="")
