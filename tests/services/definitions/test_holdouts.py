"""Datasets with a holdout, as they are made, added to and shown."""

from pathlib import Path
from uuid import uuid4

import pytest

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.services.catalog.datasets import get_dataset, list_datasets
from lfexp_mcp.services.definitions import NewItem
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.definitions.holdouts import NEVER_REPLACED, NONE_HAS_VALUE, SEEN, declare
from lfexp_mcp.services.workspace import Workspace
from tests.worker.scene import Scene

pytestmark = pytest.mark.anyio


def items(name: str, first: int, count: int) -> list[NewItem]:
    return [
        NewItem(
            id=f"{name}-{number}", input=f"question {number}", metadata={"split": "train" if number % 3 else "test"}
        )
        for number in range(first, first + count)
    ]


async def sides(ws: Workspace, name: str) -> tuple[set[str], set[str]]:
    """Return the ids of a dataset's open and held-out items."""
    open_items, held_out = await ws.gateway.datasets.split_items(name)
    return {item.id for item in open_items}, {item.id for item in held_out}


@pytest.mark.parametrize("given", [0.3, "0.3", " 0.3 ", 0.001, "split=test", "split = test"])
def test_a_share_or_a_condition_on_metadata_is_a_holdout(given: float | str) -> None:
    holdout = declare(given)
    assert holdout.problem is None
    assert (holdout.key, holdout.value) == ((None, None) if "=" not in str(given) else ("split", "test"))
    assert bool(holdout.salt) is (holdout.share is not None)


@pytest.mark.parametrize(
    "given",
    [
        0,
        1,
        -0.0,
        -0.1,
        1.0,
        30,
        "30",
        "30%",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        "",
        "split",
        "=",
        "split=",
        "=x",
        "split!=test",
        "level>=3",
        "split=test and level=1",
        "split=test, level=1",
        "split in [test, dev]",
        "split not in [train]",
    ],
)
def test_what_is_no_holdout_is_refused(given: float | str) -> None:
    with pytest.raises(UsageError, match="holdout"):
        declare(given)


@pytest.mark.parametrize(
    ("given", "value"),
    [("split==test", "test"), ("split='test'", "test"), ('split="a, b"', "a, b"), ("split in [test]", "test")],
)
def test_a_holdout_is_read_as_every_other_condition_on_metadata(given: str, value: str) -> None:
    assert (declare(given).key, declare(given).value) == ("split", value)


def test_every_holdout_by_share_is_drawn_anew() -> None:
    assert declare(0.3).salt != declare(0.3).salt


def test_a_percentage_is_answered_with_the_share_that_it_may_mean() -> None:
    with pytest.raises(UsageError, match=r"0\.3"):
        declare(30)


@pytest.mark.slow
@pytest.mark.parametrize("holdout", [0.4, "split=test"])
async def test_items_keep_their_side_when_others_are_added(workspace: Workspace, holdout: float | str) -> None:
    name = f"appended {uuid4().hex}"
    made = await create_dataset(workspace, name, items=items(name, 0, 30), holdout=holdout)
    before = await sides(workspace, name)
    assert (made.stored, made.total_items, made.held_out) == (30, len(before[0]), len(before[1]))
    assert before[1]
    added = await create_dataset(workspace, name, items=items(name, 30, 60))
    after = await sides(workspace, name)
    assert (added.stored, added.total_items, added.held_out) == (60, len(after[0]), len(after[1]))
    assert (before[0] <= after[0], before[1] < after[1], len(after[0] | after[1])) == (True, True, 90)


async def test_a_held_out_item_is_not_replaced_and_the_answer_does_not_tell_which_it_is(workspace: Workspace) -> None:
    name = f"poisoned {uuid4().hex}"
    await create_dataset(workspace, name, items=items(name, 0, 20), holdout=0.5)
    held_out = await workspace.gateway.datasets.items(name, held_out=True)
    answers = []
    for item_id in (held_out[0].id, next(iter((await sides(workspace, name))[0]))):
        easy = NewItem(id=item_id, input="easy", metadata={"split": "train"})
        answer = await create_dataset(workspace, name, items=[easy])
        answers.append(answer.model_dump())
    assert answers[0] == answers[1]
    assert answers[0]["stored"] == 1
    assert NEVER_REPLACED in answers[0]["warnings"]
    assert await workspace.gateway.datasets.items(name, held_out=True) == held_out
    assert "easy" in [item.input for item in await workspace.gateway.datasets.items(name)]


@pytest.mark.slow
async def test_a_holdout_is_declared_once_and_for_all(workspace: Workspace) -> None:
    name = f"declared {uuid4().hex}"
    await create_dataset(workspace, name, items=items(name, 0, 20), holdout=0.5)
    before = await sides(workspace, name)
    again = await create_dataset(workspace, name, metadata={"owner": "us"}, holdout=0.5)
    assert (again.held_out, await sides(workspace, name)) == (len(before[1]), before)
    for other in (0.4, 0.6, "split=test"):
        with pytest.raises(UsageError, match=name):
            await create_dataset(workspace, name, items=items(name, 20, 1), holdout=other)
    assert (await get_dataset(workspace, name)).metadata == {"owner": "us"}
    assert await sides(workspace, name) == before


async def test_that_nothing_is_held_out_yet_is_said(workspace: Workspace) -> None:
    name = f"none held out {uuid4().hex}"
    answer = await create_dataset(workspace, name, items=items(name, 1, 2), holdout="split=test")
    assert (answer.held_out, NONE_HAS_VALUE.format("test", "split") in answer.warnings) == (0, True)


@pytest.mark.slow
async def test_a_holdout_that_is_declared_after_runs_comes_with_a_warning_that_its_items_were_seen(
    workspace: Workspace, tmp_path: Path
) -> None:
    scene = Scene(workspace, tmp_path)
    await scene.fill(4)
    await scene.run(scene.script("def task(item):\n    return item.input"))
    answer = await create_dataset(scene.ws, scene.dataset, holdout=0.5)
    assert SEEN in answer.warnings
    assert SEEN not in (await create_dataset(scene.ws, scene.dataset, holdout=0.5)).warnings


@pytest.mark.slow
async def test_a_dataset_is_shown_as_if_its_held_out_items_were_not_there(workspace: Workspace) -> None:
    name = f"shown {uuid4().hex}"
    given = [NewItem(id=f"{name}-{n}", input=n, metadata={"split": "test", "only": "here"}) for n in range(5)]
    await create_dataset(workspace, name, items=[*items(name, 10, 20), *given], holdout="split=test")
    open_items = await workspace.gateway.datasets.items(name)
    shown = await get_dataset(workspace, name, limit=5)
    assert (shown.total_items, shown.held_out) == (len(open_items), 35 - 10 - len(open_items))
    assert [(each.key, each.items, each.values) for each in shown.metadata_keys or ()] == [
        ("split", len(open_items), {"train": len(open_items)})
    ]
    seen, cursor = [item.item_id for item in shown.items], shown.next_cursor
    while cursor is not None:
        page = await get_dataset(workspace, name, limit=5, cursor=cursor)
        assert page.items
        seen, cursor = [*seen, *(item.item_id for item in page.items)], page.next_cursor
    assert seen == [item.id for item in open_items]
    (listed,) = [each for each in (await list_datasets(workspace, 100)).datasets if each.name == name]
    assert listed.items == len(open_items)


async def test_items_of_another_dataset_cannot_be_taken_over_by_their_ids(workspace: Workspace) -> None:
    name = f"taken {uuid4().hex}"
    await create_dataset(workspace, name, items=items(name, 0, 10), holdout=0.5)
    with pytest.raises(UsageError, match=f"{name}-0"):
        await create_dataset(workspace, f"other {name}", items=[NewItem(id=f"{name}-0", input="mine")])
    with pytest.raises(NotFoundError):
        await get_dataset(workspace, f"other {name}")
