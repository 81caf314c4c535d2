"""Datasets and their items."""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

import httpx
from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, RejectedError, UsageError
from lfexp_mcp.gateway import decoding
from lfexp_mcp.gateway.dataset_names import dataset_path, refuse_unreachable
from lfexp_mcp.gateway.reader import NO_SDK_RETRIES, PAGE, Reader
from lfexp_mcp.gateway.records import Dataset
from lfexp_mcp.gateway.rows import DatasetItemRow, NumberedPage
from lfexp_mcp.gateway.transport import checked
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import DatasetItem

ITEMS_PATH = "/api/public/dataset-items"
PAGES_AT_ONCE = 4


class Datasets(Reader):
    """Reads and makes datasets."""

    _parses_texts = True
    """Whether the server stores a text that is JSON as what it says; older servers keep it as text."""

    async def datasets(self) -> list[Dataset]:
        """Return all datasets, newest first."""
        rows = await self._all_pages(
            "list the datasets",
            lambda page: self._api.datasets.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_dataset(row) for row in rows]

    async def dataset(self, name: str) -> Dataset:
        """Return the dataset of that name.

        Raises:
            NotFoundError: There is none; the text names those nearest.
            UsageError: No server has a dataset of such a name.
        """
        path = dataset_path(name)
        try:
            row = await self._call(
                f"read dataset {name!r}",
                lambda: self._api.datasets.get(path, request_options=NO_SDK_RETRIES),
            )
        except RejectedError as refused:
            if refused.status != 404:
                raise
            known = [dataset.name for dataset in await self.datasets()]
            raise NotFoundError.of(
                "dataset", name, known, "Make it with create_dataset, or pass the name of one that exists."
            ) from refused
        return decoding.decode_dataset(row)

    async def dataset_items(self, dataset_name: str, version: datetime | None = None) -> list[DatasetItem]:
        """Return a dataset's active items, oldest first, as they are now or were at `version`."""
        pages = {1: await self._items_page(1, dataset_name, version)}

        async def read(number: int) -> None:
            pages[number] = await self._items_page(number, dataset_name, version)

        await for_each(range(2, pages[1].meta.total_pages + 1), read, PAGES_AT_ONCE)
        # An item that is added meanwhile moves the others on, some of them to a page that is yet to be read.
        found = {row.id: row for number in sorted(pages) for row in pages[number].data if row.status == "ACTIVE"}
        return [decoding.decode_dataset_item(row) for row in reversed(found.values())]

    async def count_dataset_items(self, dataset_name: str | None = None) -> int:
        """Return how many active items a dataset has, or the project as a whole."""
        return (await self._items_page(1, dataset_name, limit=1)).meta.total_items

    async def datasets_of_items(self, item_ids: Collection[str]) -> dict[str, str]:
        """Return the ids of the datasets that items belong to, by item id; those of the project's that exist.

        The items of the whole project are listed where that takes fewer requests than to ask for each by its id. That
        leaves archived items out; so does asking for an id that holds a percent sign, since it is not known whether
        servers decode the path of an item once or twice.
        """
        found: dict[str, str] = {}

        async def look(item_id: str) -> None:
            if (dataset_id := await self._dataset_of_item(item_id)) is not None:
                found[item_id] = dataset_id

        async def read(number: int) -> None:
            rows = (await self._items_page(number, None)).data
            found.update((row.id, row.dataset_id) for row in rows if row.id in item_ids)

        pages = -(-await self.count_dataset_items() // PAGE)
        if pages < len(item_ids):
            await for_each(range(1, pages + 1), read, PAGES_AT_ONCE)
        else:
            await for_each((each for each in item_ids if _can_be_asked_for(each)), look, PAGES_AT_ONCE)
        return found

    async def _dataset_of_item(self, item_id: str) -> str | None:
        async def read() -> DatasetItemRow:
            response = await self._http.get(f"{ITEMS_PATH}/{quote(item_id, safe='')}")
            return DatasetItemRow.model_validate_json(checked(response).content)

        try:
            return (await self._call(f"look for item {item_id!r}", read)).dataset_id
        except RejectedError as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def _items_page(
        self, number: int, dataset_name: str | None, version: datetime | None = None, limit: int = PAGE
    ) -> NumberedPage[DatasetItemRow]:
        asked = {
            "datasetName": dataset_name,
            "version": version.isoformat() if version else None,
            "page": str(number),
            "limit": str(limit),
        }
        what = f"read the items of dataset {dataset_name!r}" if dataset_name else "count the dataset items"
        return await self._page(what, ITEMS_PATH, asked, NumberedPage[DatasetItemRow])

    async def upsert_dataset(
        self, name: str, description: str | None = None, metadata: dict[str, JsonValue] | None = None
    ) -> Dataset:
        """Create a dataset, or change the description and metadata of the one that has the name.

        Raises:
            UsageError: A dataset of this name could not be read again.
        """
        refuse_unreachable(name)
        given = {
            key: value for key, value in (("description", description), ("metadata", metadata)) if value is not None
        }
        row = await self._call(
            f"create dataset {name!r}",
            lambda: self._api.datasets.create(name=name, request_options=NO_SDK_RETRIES, **cast("Any", given)),
        )
        return decoding.decode_dataset(row)

    async def upsert_dataset_item(
        self,
        dataset_name: str,
        *,
        id: str | None,
        input: JsonValue,
        expected_output: JsonValue = None,
        metadata: dict[str, JsonValue] | None = None,
        source_trace_id: str | None = None,
    ) -> DatasetItem:
        """Create a dataset item, or replace the one that has the id.

        Langfuse stores an `input` or `expectedOutput` that is text and parses as JSON as what it says: `"7500"` becomes
        a number (seen on 4.16.0). Such a text is sent once more encoded. A server before that keeps every text as it
        is; its answer tells, and the item is sent again without.

        Returns:
            The item as Langfuse has it.

        Raises:
            UsageError: The id belongs to another dataset of the project.
        """
        body: dict[str, JsonValue] = {
            "datasetName": dataset_name,
            "id": id,
            "input": input,
            "expectedOutput": expected_output,
            "metadata": metadata,
            "sourceTraceId": source_trace_id,
        }
        if not self._parses_texts:
            return await self._send_item(body)
        encoded = {name: encode_text(body[name]) for name in ("input", "expectedOutput")}
        stored = await self._send_item({**body, **encoded})
        kept = {"input": stored.input, "expectedOutput": stored.expected_output}
        if any(kept[name] == text != body[name] for name, text in encoded.items()):
            self._parses_texts = False
            return await self._send_item({**body, "id": stored.id})
        return stored

    async def _send_item(self, body: dict[str, JsonValue]) -> DatasetItem:
        async def send() -> DatasetItemRow:
            return DatasetItemRow.model_validate_json(checked(await self._http.post(ITEMS_PATH, json=body)).content)

        try:
            row = await self._call(f"store item {body['id']!r} of dataset {body['datasetName']!r}", send)
        except RejectedError as refused:
            if refused.status != httpx.codes.CONFLICT:
                raise
            raise UsageError(
                f"Item id {body['id']!r} belongs to another dataset of this project already. "
                "Give the item another id, or leave the id out."
            ) from refused
        return decoding.decode_dataset_item(row)


def _can_be_asked_for(item_id: str) -> bool:
    return "%" not in item_id and item_id not in (".", "..")


def encode_text(value: JsonValue) -> JsonValue:
    """Encode a text once more that Langfuse would otherwise read as JSON, or as nothing; leave the rest as it is."""
    if isinstance(value, str) and (not value or _parses(value)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _parses(text: str) -> bool:
    """Whether a JSON parser takes a text, more than one of JavaScript does: a text encoded in vain comes back, too."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True
