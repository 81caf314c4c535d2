"""Reads of a dataset with a holdout: what is held out comes only where it is asked for."""

import re
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset, Gateway
from lfexp_mcp.model import HOLDOUT_KEY, Holdout
from lfexp_mcp.services.workspace import Workspace

pytestmark = pytest.mark.anyio

BY_SHARE = Holdout(0.5, "salt")
BY_METADATA = Holdout(key="split", value="test")


async def store(gateway: Gateway, holdout: Holdout | None, count: int = 12) -> tuple[Dataset, list[str], list[str]]:
    """Store a dataset; return it with the ids that are open, and those that are held out."""
    name = f"holdout {uuid4().hex}"
    dataset = await gateway.datasets.upsert(name, "described", {"owner": "us"}, holdout)
    split: tuple[list[str], list[str]] = ([], [])
    for number in range(count):
        item_id, metadata = f"{name}-{number}", {"split": "test" if number % 3 == 0 else "train"}
        await gateway.dataset_items.upsert(name, id=item_id, input=number, metadata={**metadata})
        split[holdout is not None and holdout.holds(item_id, {**metadata})].append(item_id)
    return dataset, *split


@pytest.mark.parametrize("holdout", [BY_SHARE, BY_METADATA], ids=["share", "metadata"])
async def test_items_that_are_held_out_are_read_only_when_asked_for(workspace: Workspace, holdout: Holdout) -> None:
    datasets = workspace.gateway.datasets
    dataset, open_ids, held_out = await store(workspace.gateway, holdout)
    assert open_ids
    assert held_out
    for by in (dataset, dataset.name):
        assert [item.id for item in await datasets.items(by)] == open_ids
        assert [item.id for item in await datasets.items(by, held_out=True)] == held_out
        assert await datasets.count_items(by) == len(open_ids)
        page, total = await datasets.items_page(by, 1, 3)
        assert ([item.id for item in page], total) == (open_ids[1:4], len(open_ids))
    assert await datasets.items_page(dataset, len(open_ids), 3) == ([], len(open_ids))


async def test_a_dataset_without_a_holdout_has_no_held_out_items(workspace: Workspace) -> None:
    dataset, open_ids, _ = await store(workspace.gateway, None, 2)
    assert [item.id for item in await workspace.gateway.datasets.items(dataset)] == open_ids
    assert await workspace.gateway.datasets.items(dataset, held_out=True) == []


async def test_a_holdout_stays_when_a_dataset_is_described_anew_and_is_not_among_its_metadata(
    workspace: Workspace,
) -> None:
    datasets = workspace.gateway.datasets
    dataset, _, _ = await store(workspace.gateway, BY_SHARE, 1)
    assert (dataset.metadata, dataset.holdout) == ({"owner": "us"}, BY_SHARE)
    again = await datasets.upsert(dataset.name, metadata={"owner": "them"})
    assert (again.metadata, again.holdout, again.description) == ({"owner": "them"}, BY_SHARE, "described")
    assert (await datasets.upsert(dataset.name, "new", holdout=BY_SHARE)).metadata == {"owner": "them"}
    assert (await datasets.upsert(dataset.name, holdout=Holdout(0.5, "another salt"))).holdout == BY_SHARE
    for other in (Holdout(0.1, "salt"), Holdout(0.6, "salt"), BY_METADATA):
        with pytest.raises(UsageError, match="holdout"):
            await datasets.upsert(dataset.name, holdout=other)
    assert (await datasets.get(dataset.name)).holdout == BY_SHARE


async def test_a_holdout_is_added_to_the_metadata_that_a_dataset_has(workspace: Workspace) -> None:
    dataset, _, _ = await store(workspace.gateway, None, 1)
    declared = await workspace.gateway.datasets.upsert(dataset.name, holdout=BY_SHARE)
    assert (declared.metadata, declared.holdout) == ({"owner": "us"}, BY_SHARE)


@pytest.mark.parametrize("recorded", [None, "30%", {"share": 2}, {"rule": 99, "share": 0.3}])
async def test_of_a_dataset_whose_holdout_cannot_be_read_nothing_is(workspace: Workspace, recorded: JsonValue) -> None:
    datasets = workspace.gateway.datasets
    dataset, _, _ = await store(workspace.gateway, None, 1)
    with pytest.raises(UsageError, match="`holdout`"):
        await datasets.upsert(dataset.name, metadata={HOLDOUT_KEY: recorded})
    await overwrite(workspace, dataset.name, {HOLDOUT_KEY: recorded})
    (listed,) = [each for each in await datasets.all() if each.name == dataset.name]
    assert listed.holdout is not None
    assert listed.holdout.problem
    for read in (datasets.get, datasets.items, datasets.count_items):
        with pytest.raises(UsageError, match=HOLDOUT_KEY):
            await read(dataset.name)
    for by in (datasets.items, datasets.count_items, datasets.holdout):
        with pytest.raises(UsageError, match=HOLDOUT_KEY):
            await by(listed)
    with pytest.raises(UsageError, match=HOLDOUT_KEY):
        await datasets.upsert(dataset.name, metadata={})


async def overwrite(workspace: Workspace, name: str, metadata: dict[str, JsonValue]) -> None:
    """Replace a dataset's metadata as the SDK does, which knows of no holdout."""
    keys = (workspace.gateway.public_key, workspace.gateway.secret_key.get_secret_value())
    async with httpx.AsyncClient(base_url=workspace.gateway.backend.url, auth=keys) as http:
        answer = await http.post("/api/public/v2/datasets", json={"name": name, "metadata": metadata})
        answer.raise_for_status()


@pytest.mark.parametrize("holdout", [BY_SHARE, BY_METADATA], ids=["share", "metadata"])
async def test_a_dataset_whose_holdout_was_overwritten_is_not_read_until_it_is_put_back(
    workspace: Workspace, holdout: Holdout
) -> None:
    datasets = workspace.gateway.datasets
    dataset, open_ids, _ = await store(workspace.gateway, holdout)
    await overwrite(workspace, dataset.name, {"owner": "x"})
    for call in (datasets.get(dataset.name), datasets.upsert(dataset.name, "another description")):
        with pytest.raises(UsageError) as refused:
            await call
        assert [step.tool for step in refused.value.next] == ["create_dataset"]
    again = await datasets.upsert(dataset.name, holdout=replace(holdout, salt="another salt" if holdout.salt else ""))
    assert (again.metadata, again.holdout) == ({"owner": "x"}, holdout)
    assert [item.id for item in await datasets.items(dataset.name)] == open_ids


@pytest.mark.parametrize("changed", [{"share": 0.1, "salt": "salt"}, {"share": 0.5, "salt": "salu"}])
async def test_a_dataset_whose_holdout_was_changed_is_not_read(
    workspace: Workspace, changed: dict[str, JsonValue]
) -> None:
    dataset, _, _ = await store(workspace.gateway, BY_SHARE, 1)
    await overwrite(workspace, dataset.name, {HOLDOUT_KEY: changed})
    for holdout in (None, BY_SHARE):
        with pytest.raises(UsageError, match=re.escape(str(BY_SHARE))):
            await workspace.gateway.datasets.upsert(dataset.name, holdout=holdout)
