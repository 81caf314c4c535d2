"""Storing dataset items: one per request, as Langfuse takes them, or many where the server is the embedded store."""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Required, TypedDict, Unpack

import anyio
import anyio.to_thread
from pydantic import BaseModel, JsonValue

from lfexp_mcp.errors import BackendError, RejectedError, UsageError
from lfexp_mcp.gateway.transport import Transport
from lfexp_mcp.gateway.wire import DatasetItemRow
from lfexp_mcp.groups import for_each, open_group
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.store.address import ITEM_LISTS
from lfexp_mcp.strict_json import may_be_json

MAX_CONCURRENT_WRITES = 8
MAX_LIST_ITEMS = 200
MAX_LIST_BYTES = 1_000_000
"""Of the items of one request, encoded; a larger item is sent alone."""
_ITEMS = "/dataset-items"


class ItemFields(TypedDict, total=False):
    """What to store of a dataset item; of one that is there, what is left out or None stays."""

    id: Required[str | None]
    """None lets Langfuse choose one."""
    input: Required[JsonValue]
    expected_output: JsonValue
    metadata: dict[str, JsonValue] | None
    source_trace_id: str | None
    source_observation_id: str | None


OnItemStored = Callable[[ItemFields, DatasetItem], Awaitable[None]]
"""Called with what was sent of an item, and the item as Langfuse has it."""


class _StoredList(BaseModel):
    data: list[DatasetItemRow]


_ItemList = list[tuple[ItemFields, bytes]]
"""Items of one request, each with its encoding."""


class DatasetItems:
    """Writes dataset items."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._parses_texts = True
        """Whether the server parses a text that is JSON; older servers keep it as text."""
        self._takes_lists = transport.backend.kind == "embedded"
        """Whether to send many items at once. Of Langfuse's routes none takes a list of them (4.59, and its batches of
        `/ingestion`), of embedded stores those of this version."""

    async def upsert_all(self, dataset_name: str, items: Iterable[ItemFields], on_stored: OnItemStored) -> None:
        """Create dataset items, or replace those that have the ids.

        Args:
            items: Drawn in a thread as their turn comes, so that few of them are held. Where lists are sent, they are
                stored in this order.
            on_stored: Called once an item is stored.

        Raises:
            UsageError: An id belongs to another dataset of the project. No further item is sent.
            BackendError: Langfuse failed, likewise.
        """
        lists = _lists(items)
        drawing, in_order = anyio.Lock(), anyio.Lock()

        async def store(item: ItemFields) -> None:
            await on_stored(item, await self.upsert(dataset_name, **item))

        async def store_list(some: _ItemList) -> None:
            # While one list is sent, the other task draws and encodes the next.
            async with in_order:
                stored = await self._send_list(dataset_name, some) if self._takes_lists else None
                if stored is None:
                    await for_each((item for item, _ in some), store, MAX_CONCURRENT_WRITES)
                    return
                for (item, _), row in zip(some, stored, strict=True):
                    await on_stored(item, row.item())

        async def store_lists() -> None:
            while True:
                async with drawing:
                    some = await anyio.to_thread.run_sync(next, lists, None)
                if some is None:
                    return
                await store_list(some)

        async with open_group() as group:
            group.start_soon(store_lists)
            group.start_soon(store_lists)

    async def _send_list(self, dataset_name: str, some: _ItemList) -> list[DatasetItemRow] | None:
        """Store a list of items; None if they are to be sent one by one, which tells which of them is refused."""
        name = json.dumps(dataset_name).encode()
        body = b'{"datasetName":%b,"items":[%b]}' % (name, b",".join(encoded for _, encoded in some))
        ids = [item["id"] for item, _ in some]
        what = f"store items {ids[0]!r} to {ids[-1]!r} ({len(ids)}) of dataset {dataset_name!r}"
        try:
            stored = (await self._transport.post(what, ITEM_LISTS, _StoredList, body)).data
        except RejectedError as refused:
            # An embedded store that another version started may not have the route.
            self._takes_lists = refused.status not in (404, 405)
            return None
        if [row.id for row in stored] != ids:
            raise BackendError(f"The embedded store answered with other items than those sent, when asked to {what}.")
        return stored

    async def upsert(self, dataset_name: str, **item: Unpack[ItemFields]) -> DatasetItem:
        """Create a dataset item, or replace the one that has the id.

        Langfuse parses an `input` or `expectedOutput` that is text and valid JSON: `"7500"` becomes a number (seen on
        4.16.0). Such a text is sent once more encoded. A server before that keeps every text as it is; its answer
        shows that, and the item is sent again as it is.

        Returns:
            The item as Langfuse has it.

        Raises:
            UsageError: The id belongs to another dataset of the project.
        """
        if not self._parses_texts:
            return await self._send(_body(item, dataset_name, encodes_texts=False))
        body = _body(item, dataset_name)
        stored = await self._send(body)
        sent = (body["input"], body["expectedOutput"])
        given = (item["input"], item.get("expected_output"))
        kept = (stored.input, stored.expected_output)
        if any(text != each == back for text, each, back in zip(given, sent, kept, strict=True)):
            self._parses_texts = False
            plain: ItemFields = {**item, "id": stored.id}
            return await self._send(_body(plain, dataset_name, encodes_texts=False))
        return stored

    async def _send(self, body: dict[str, JsonValue]) -> DatasetItem:
        what = f"store item {body['id']!r} of dataset {body['datasetName']!r}"
        try:
            return (await self._transport.post(what, _ITEMS, DatasetItemRow, body)).item()
        except RejectedError as refused:
            if refused.status != 409:
                raise
            raise UsageError(
                f"Item id {body['id']!r} belongs to another dataset of this project already. "
                "Give the item another id, or leave the id out."
            ) from refused


def _body(item: ItemFields, dataset_name: str | None = None, *, encodes_texts: bool = True) -> dict[str, JsonValue]:
    """Write an item as Langfuse takes it; in a list of items, the dataset's name is left out."""
    encode = encode_text if encodes_texts else lambda text: text
    return {
        **({} if dataset_name is None else {"datasetName": dataset_name}),
        "id": item["id"],
        "input": encode(item["input"]),
        "expectedOutput": encode(item.get("expected_output")),
        "metadata": item.get("metadata"),
        "sourceTraceId": item.get("source_trace_id"),
        "sourceObservationId": item.get("source_observation_id"),
    }


def _lists(items: Iterable[ItemFields]) -> Iterator[_ItemList]:
    """Put items together for one request each time."""
    some, size = _ItemList(), 0
    for item in items:
        encoded = json.dumps(_body(item), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        if len(some) >= MAX_LIST_ITEMS or (some and size + len(encoded) > MAX_LIST_BYTES):
            yield some
            some, size = _ItemList(), 0
        some.append((item, encoded))
        size += len(encoded)
    if some:
        yield some


def encode_text(value: JsonValue) -> JsonValue:
    """Encode a text once more that Langfuse would read as JSON, or as nothing; leave other values as they are."""
    if isinstance(value, str) and (not value or _is_json(value)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _is_json(text: str) -> bool:
    """Whether a JSON parser may take a text. Python's takes more than JavaScript's; encoding too much does no harm."""
    if not may_be_json(text):
        return False
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True
