"""Storing many dataset items: in lists on the embedded store, one by one on all other servers."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import BackendError, UnreachableError, UsageError
from lfexp_mcp.gateway import Gateway, ItemFields
from lfexp_mcp.gateway.dataset_items import MAX_CONCURRENT_WRITES, MAX_LIST_BYTES, MAX_LIST_ITEMS
from lfexp_mcp.gateway.known_holdouts import KnownHoldouts
from lfexp_mcp.model import Backend, DatasetItem
from lfexp_mcp.model.backend import BackendKind
from lfexp_mcp.store.address import ITEM_LISTS
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.faults.proxy import Fault, FaultProxy, Request
from tests.gateway.conftest import QUICK
from tests.gateway.scripted_server import LOGIN_PAGE, Reply, ScriptedServer
from tests.gateway.test_datasets import LIKE_JSON

pytestmark = pytest.mark.anyio

ODD: list[JsonValue] = [*LIKE_JSON, "a\0b", "漢🙂", 2**60, 10**400, 1.0, -0.0, 1e-300, True]
ODD += [[], {}, [[None]], {"": {"a\0": "\0"}}, {"k": "7"}]


@asynccontextmanager
async def gateway_at(url: str, keys: StoreConnection, folder: Path, kind: BackendKind) -> AsyncIterator[Gateway]:
    """A gateway that takes the server at a URL for one of a kind."""
    async with httpx.AsyncClient(base_url=url, auth=(keys.public_key, keys.secret_key)) as http:
        secret = SecretStr(keys.secret_key)
        yield Gateway(http, Backend(kind=kind, url=url), keys.public_key, secret, KnownHoldouts(folder), QUICK)


@pytest.fixture
def proxy(store: StoreConnection) -> Iterator[FaultProxy]:
    with FaultProxy(store.base_url) as opened:
        yield opened


@pytest.fixture
async def lists(proxy: FaultProxy, store: StoreConnection, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that sends lists."""
    async with gateway_at(proxy.url, store, tmp_path, "embedded") as opened:
        yield opened


def numbered(name: str, count: int) -> list[ItemFields]:
    return [{"id": f"{name}-{number:04}", "input": number} for number in range(count)]


async def store_all(gateway: Gateway, name: str, items: list[ItemFields]) -> list[str]:
    """Store items, and return the ids of those that are said to be stored."""
    stored: list[str] = []

    async def note(item: ItemFields, found: DatasetItem) -> None:
        assert item["id"] == found.id
        stored.append(found.id)

    await gateway.datasets.upsert(name)
    await gateway.dataset_items.upsert_all(name, items, note)
    return stored


def is_list(request: Request) -> bool:
    return request.path.endswith(ITEM_LISTS)


async def test_lists_are_stored_in_the_order_of_the_items_with_few_requests(lists: Gateway, proxy: FaultProxy) -> None:
    name = f"order {uuid4().hex}"
    items = numbered(name, 2 * MAX_LIST_ITEMS + 1)
    assert await store_all(lists, name, items) == [item["id"] for item in items]
    assert sum(map(is_list, proxy.requests)) == 3
    assert [item.input for item in await lists.datasets.items(name)] == list(range(len(items)))


@pytest.mark.slow
async def test_a_list_and_single_items_leave_the_same_rows(tmp_path: Path) -> None:
    """Byte by byte, in the store's file, but for ids and times."""
    keys = ensure_store(tmp_path / "store")
    try:
        for kind in ("embedded", "self-hosted"):
            async with gateway_at(keys.base_url, keys, tmp_path, kind) as gateway:
                for _ in range(2):
                    items = [
                        ItemFields(id=f"{kind} {n}", input=value, expected_output=value, metadata={"a": value})
                        for n, value in enumerate(ODD)
                    ]
                    items.append(
                        {"id": f"{kind} bare", "input": 1, "source_trace_id": "t", "source_observation_id": "o"}
                    )
                    stored = await store_all(gateway, kind, items)
                    assert sorted(stored) == sorted(str(item["id"]) for item in items)
                # What is left out stays as it was.
                await store_all(gateway, kind, [{"id": f"{kind} bare", "input": 2}])
    finally:
        stop_store(tmp_path / "store")
    with closing(sqlite3.connect(tmp_path / "store" / "store.sqlite3")) as connection:
        rows: dict[str, list[tuple[object, ...]]] = {}
        columns = "input, expected_output, metadata, source_trace_id, source_observation_id, status, valid_to IS NULL"
        for item_id, *row in connection.execute(f"SELECT id, {columns} FROM dataset_item_versions ORDER BY id, seq"):
            kind, _, which = item_id.partition(" ")
            rows.setdefault(kind, []).append((which, *row))
    assert rows["embedded"] == rows["self-hosted"]
    assert len(rows["embedded"]) == 2 * len(ODD) + 3


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 405])
async def test_a_store_that_takes_no_lists_gets_each_item_once_and_is_not_asked_again(
    lists: Gateway, proxy: FaultProxy, status: int
) -> None:
    proxy.faults = lambda request: Fault(status=status) if is_list(request) else None
    name = f"earlier {uuid4().hex}"
    items = numbered(name, MAX_LIST_ITEMS + 30)
    assert sorted(await store_all(lists, name, items)) == [item["id"] for item in items]
    await store_all(lists, name, items[:1])
    assert sum(map(is_list, proxy.requests)) == 1
    single = [request for request in proxy.requests if request.path == "/api/public/dataset-items"]
    sent = [json.loads(request.body)["id"] for request in single]
    assert sorted(sent) == sorted(str(item["id"]) for item in [*items, items[0]])


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_list_that_is_refused_is_stored_one_by_one_and_the_next_is_a_list_again(
    lists: Gateway, proxy: FaultProxy, status: int
) -> None:
    proxy.faults = lambda request: Fault(status=status) if is_list(request) and b"-0000" in request.body else None
    name = f"refused {uuid4().hex}"
    items = numbered(name, 2 * MAX_LIST_ITEMS)
    assert sorted(await store_all(lists, name, items)) == [item["id"] for item in items]
    assert sum(map(is_list, proxy.requests)) == 2


async def test_an_item_that_is_refused_is_named_and_takes_none_of_its_list_with_it(lists: Gateway) -> None:
    first, name = f"first {uuid4().hex}", f"second {uuid4().hex}"
    await store_all(lists, first, numbered(first, 1))
    taken: ItemFields = {"id": f"{first}-0000", "input": "x"}
    items = [*numbered(name, MAX_LIST_ITEMS + 10), taken, *numbered(f"{name} later", 2 * MAX_LIST_ITEMS)]
    with pytest.raises(UsageError, match=f"{first}-0000"):
        await store_all(lists, name, items)
    stored = {item.id for item in await lists.datasets.items(name)}
    # Its neighbours are sent side by side.
    before = {str(item["id"]) for item in items[: MAX_LIST_ITEMS + 10 - MAX_CONCURRENT_WRITES]}
    assert before <= stored
    assert len(stored) <= 2 * MAX_LIST_ITEMS - 1
    assert [item.input for item in await lists.datasets.items(first)] == [0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [Fault(forget_answer=True), Fault(close=True), Fault(status=503), Fault(status=429, headers={"Retry-After": "0"})],
    ids=["applied", "lost", "503", "429"],
)
async def test_a_list_whose_answer_is_lost_is_sent_again_and_doubles_nothing(
    lists: Gateway, proxy: FaultProxy, fault: Fault
) -> None:
    failed: list[int] = []

    def fail_once(request: Request) -> Fault | None:
        if is_list(request) and len(failed) < 2:
            failed.append(request.number)
            return fault
        return None

    proxy.faults = fail_once
    name = f"lost {uuid4().hex}"
    assert len(await store_all(lists, name, numbered(name, 5))) == 5
    assert [item.input for item in await lists.datasets.items(name)] == [0, 1, 2, 3, 4]


async def test_a_store_that_fails_for_good_is_said_to_with_the_items_that_it_was_sent(
    lists: Gateway, proxy: FaultProxy
) -> None:
    proxy.faults = lambda request: Fault(status=500) if is_list(request) else None
    name = f"fails {uuid4().hex}"
    with pytest.raises(UnreachableError, match=rf"{name}-0000' to '{name}-0004' \(5\)"):
        await store_all(lists, name, numbered(name, 5))


def _without_last(rows: list[JsonValue]) -> list[JsonValue]:
    return rows[:-1]


def _backwards(rows: list[JsonValue]) -> list[JsonValue]:
    return rows[::-1]


@pytest.mark.parametrize("spoil", [_without_last, _backwards, lambda _rows: []])
async def test_an_answer_about_other_items_counts_as_none(
    server: ScriptedServer, store: StoreConnection, tmp_path: Path, spoil: Callable[[list[JsonValue]], list[JsonValue]]
) -> None:
    moment = "2026-01-01T00:00:00Z"
    row: dict[str, JsonValue] = {"datasetId": "d", "createdAt": moment, "updatedAt": moment}
    items = numbered("d", 3)
    server.replies = [
        Reply(body={"data": spoil([{**row, "id": item["id"], "input": item["input"]} for item in items])})
    ]

    async def never(_item: ItemFields, _found: DatasetItem) -> None:
        pytest.fail("said to be stored")

    async with gateway_at(server.url, store, tmp_path, "embedded") as gateway:
        with pytest.raises(BackendError):
            await gateway.dataset_items.upsert_all("d", items, never)


@pytest.mark.parametrize("reply", [Reply(content=b""), LOGIN_PAGE, Reply(content=b"[]"), Reply(body={"message": "OK"})])
async def test_an_answer_that_acknowledges_nothing_is_no_success(
    server: ScriptedServer, store: StoreConnection, tmp_path: Path, reply: Reply
) -> None:
    async def never(_item: ItemFields, _found: DatasetItem) -> None:
        pytest.fail("said to be stored")

    server.replies = [reply]
    for kind in ("embedded", "self-hosted"):
        async with gateway_at(server.url, store, tmp_path, kind) as gateway:
            with pytest.raises(BackendError):
                await gateway.dataset_items.upsert_all("d", numbered("d", 3), never)


async def test_an_item_that_is_too_large_for_the_server_is_named(lists: Gateway, proxy: FaultProxy) -> None:
    proxy.faults = lambda request: Fault(status=413) if len(request.body) > MAX_LIST_BYTES else None
    name = f"too large {uuid4().hex}"
    items = numbered(name, 5)
    items[3] = {"id": f"{name}-0003", "input": "x" * MAX_LIST_BYTES}
    with pytest.raises(BackendError, match=f"'{name}-0003'"):
        await store_all(lists, name, items)
    assert [item.input for item in await lists.datasets.items(name)] == [0, 1, 2]


@pytest.mark.slow
async def test_large_items_share_no_request_and_few_are_held_at_a_time(lists: Gateway, proxy: FaultProxy) -> None:
    name = f"large {uuid4().hex}"
    drawn = stored = most = 0

    def draw() -> Iterator[ItemFields]:
        nonlocal drawn, most
        for number in range(12):
            drawn += 1
            most = max(most, drawn - stored)
            yield {"id": f"{name}-{number}", "input": "漢" * (MAX_LIST_BYTES // 6)}

    async def count(_item: ItemFields, _found: DatasetItem) -> None:
        nonlocal stored
        stored += 1

    await lists.datasets.upsert(name)
    await lists.dataset_items.upsert_all(name, draw(), count)
    assert (drawn, stored) == (12, 12)
    assert most <= 4
    assert all(len(request.body) < MAX_LIST_BYTES + 200 for request in proxy.requests)
