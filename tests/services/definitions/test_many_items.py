"""Creating datasets of many items on the embedded store, which takes them in lists."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from lfexp_mcp.answers.catalog import DatasetAnswer
from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway.dataset_items import MAX_LIST_ITEMS
from lfexp_mcp.services.definitions import ItemProgress, NewItem, item_store
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import stop_store

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COUNT = 3 * MAX_LIST_ITEMS + 1


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    stop_store(Settings(home=home).store_folder)


@pytest.fixture
async def embedded(shared_home: Path) -> AsyncIterator[Workspace]:
    """A workspace on the embedded store, as without keys."""
    async with open_workspace(Settings(home=shared_home)) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    return f"many {uuid4().hex}"


@pytest.fixture
def file(tmp_path: Path, name: str) -> Path:
    """Items with ids that were written long ago."""
    path = tmp_path / "items.jsonl"
    items = ({"id": f"{name} {number}", "input": f"question {number}"} for number in range(COUNT))
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told of each item."""
    monkeypatch.setattr(item_store, "REPORT_INTERVAL_S", 0.0)


async def inputs(ws: Workspace, name: str) -> list[object]:
    return [item.input for item in await ws.gateway.datasets.items(name)]


@pytest.mark.usefixtures("reports")
async def test_the_items_of_a_file_keep_its_order_and_each_counts_as_progress(
    embedded: Workspace, name: str, file: Path
) -> None:
    told: list[ItemProgress] = []

    async def tell(progress: ItemProgress) -> None:
        told.append(progress)

    answer = await create_dataset(embedded, name, items_file=file, on_progress=tell)
    assert (answer.stored, answer.total_items) == (COUNT, COUNT)
    assert await inputs(embedded, name) == [f"question {number}" for number in range(COUNT)]
    assert told == [ItemProgress(COUNT, number, COUNT) for number in range(COUNT + 1)]


@pytest.mark.usefixtures("reports")
async def test_reading_items_counts_as_progress_whether_or_not_any_is_sent(
    embedded: Workspace, name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_store, "ITEMS_PER_REPORT", 200)
    told: list[ItemProgress] = []

    async def tell(progress: ItemProgress) -> None:
        told.append(progress)

    await create_dataset(embedded, name, items_file=file, on_progress=tell)
    checked = [ItemProgress(200), ItemProgress(400), ItemProgress(600), ItemProgress(COUNT, 0, COUNT)]
    assert told[:4] == checked
    told.clear()
    await create_dataset(embedded, name, items_file=file, on_progress=tell)
    assert told == [*checked, *(ItemProgress(COUNT, number, COUNT) for number in (200, 400, 600))]


@pytest.mark.usefixtures("reports")
async def test_a_call_that_was_cancelled_is_completed_by_the_same_call(
    embedded: Workspace, name: str, file: Path
) -> None:
    with anyio.CancelScope() as call:

        async def leave(progress: ItemProgress) -> None:
            if progress.stored > MAX_LIST_ITEMS:
                call.cancel()
                await anyio.lowlevel.checkpoint()

        await create_dataset(embedded, name, items_file=file, on_progress=leave)
    assert call.cancelled_caught
    stored = len(await inputs(embedded, name))
    assert MAX_LIST_ITEMS < stored < COUNT
    answer = await create_dataset(embedded, name, items_file=file, agreed=())
    assert (answer.stored, answer.total_items) == (COUNT, COUNT)
    assert sorted(map(str, await inputs(embedded, name))) == sorted(f"question {number}" for number in range(COUNT))


async def test_two_calls_at_once_make_one_dataset(
    embedded: Workspace, shared_home: Path, name: str, file: Path
) -> None:
    answers: list[DatasetAnswer] = []

    async def create(ws: Workspace) -> None:
        answers.append(await create_dataset(ws, name, items_file=file))

    async with open_workspace(Settings(home=shared_home)) as other, anyio.create_task_group() as group:
        group.start_soon(create, embedded)
        group.start_soon(create, other)
    assert [answer.total_items for answer in answers] == [COUNT, COUNT]
    assert sorted(map(str, await inputs(embedded, name))) == sorted(f"question {number}" for number in range(COUNT))


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("change", ["a line more", "a line less", "another input", "other items"])
async def test_a_file_that_is_changed_while_it_is_stored_is_said_to_be(
    embedded: Workspace, name: str, file: Path, change: str
) -> None:
    path = anyio.Path(file)
    text = await path.read_text()
    last = text.splitlines(keepends=True)[-1]
    changed = {
        "a line more": text + last.replace(name, "one more"),
        "a line less": text.removesuffix(last),
        "another input": text.replace("question 600", "question 700"),
        "other items": text.replace(name, name[::-1]),
    }[change]

    async def edit(_: ItemProgress) -> None:
        if await path.read_text() == text:
            await path.write_text(changed)

    with pytest.raises(UsageError, match=r"changed while it was read.*Stored so far: at least \d+ of 601"):
        await create_dataset(embedded, name, items_file=file, on_progress=edit)


async def test_ids_are_the_same_only_if_they_are_equal(embedded: Workspace, name: str) -> None:
    ids = [f"{name} {end}" for end in ("é", "e\u0301", "a", "A", "a ", "1", "1.0", "%31")]
    answer = await create_dataset(embedded, name, items=[NewItem(id=each, input=each) for each in ids])
    assert (answer.stored, answer.total_items) == (len(ids), len(ids))
    assert await inputs(embedded, name) == ids


async def test_an_item_that_is_refused_halfway_is_named_with_what_is_stored(embedded: Workspace, name: str) -> None:
    taken = NewItem(id=f"taken {name}", input="x")
    await create_dataset(embedded, f"other {name}", items=[taken])
    await create_dataset(embedded, name)
    items = [NewItem(id=f"{name} {number}", input=number) for number in range(COUNT)]
    items.insert(MAX_LIST_ITEMS, taken)
    # It was free when the items were surveyed.
    survey = item_store.survey_items(name, lambda: items)
    with pytest.raises(UsageError) as refused:
        await item_store.store_items(embedded, name, items, survey)
    said = str(refused.value)
    assert (f"taken {name}" in said, f"all before item {MAX_LIST_ITEMS + 1} among them" in said) == (True, True)
    assert (await inputs(embedded, name))[:MAX_LIST_ITEMS] == list(range(MAX_LIST_ITEMS))
