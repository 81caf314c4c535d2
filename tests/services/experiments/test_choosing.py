"""Choosing a part of a dataset: what callers write, and what of it runs."""

import json
import math
import time
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import LfexpError, UsageError
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.experiments.choosing import ChosenItems, choose_items
from lfexp_mcp.services.requests import RunRequest, build
from lfexp_mcp.services.workspace import Workspace

pytestmark = pytest.mark.anyio

ROWS = [json.loads(line) for line in Path(__file__).with_name("item_choices.jsonl").read_text("utf-8").splitlines()]
DATASET = [
    DatasetItem(row["id"], "q", metadata=row["metadata"] if isinstance(row["metadata"], dict) else {})
    for row in ROWS[0]["dataset"]
]
CASES = [(given, row) for row in ROWS[1:] for given in row["items"]]
MANY = [DatasetItem(f"item {number}", number) for number in range(400)]


def request(given: JsonValue) -> RunRequest:
    return build(RunRequest, run_name="new", dataset="Q", task_script=Path("t.py"), items=given)


async def choose(ws: Workspace, given: JsonValue, items: list[DatasetItem] = DATASET) -> ChosenItems:
    return await choose_items(ws, "Q", "new", items, request(given).items)


async def sampled(ws: Workspace, count: int, items: list[DatasetItem]) -> set[str]:
    return {item.id for item in (await choose(ws, count, items)).items}


async def test_a_choice_is_what_a_careful_reader_takes_it_for(workspace: Workspace) -> None:
    for given, row in CASES:
        await check(workspace, given, row)


async def check(workspace: Workspace, given: JsonValue, row: dict[str, JsonValue]) -> None:
    if "refused" in row:
        with pytest.raises(LfexpError) as refused:
            await choose(workspace, given)
        assert refused.value.code == row["refused"], given
        assert len(str(refused.value)) < 700
        return
    found = await choose(workspace, given)
    assert [item.id for item in found.items] == row["chosen"], given
    assert (found.part is None) == (len(found.items) == len(DATASET))
    if "notes" in row:
        assert len(found.notes) == row["notes"]


@pytest.mark.slow
@pytest.mark.parametrize("given", [case for case, row in CASES if "refused" not in row], ids=json.dumps)
def test_a_choice_that_an_answer_proposes_is_read_as_the_same(given: JsonValue) -> None:
    first = request(given)
    proposed = json.loads(first.model_dump_json())["items"]
    assert request(proposed).items == first.items
    if isinstance(proposed, list | dict):
        # As the shell and some clients give it.
        assert request(json.dumps(proposed)).items == first.items


@pytest.mark.parametrize(
    "given", ["(" * 10_000 + "language=de", f"language={'x' * 1_000_000}", "[" * 100_000, "a " * 499]
)
async def test_a_hostile_choice_is_refused_at_once_and_not_repeated(workspace: Workspace, given: str) -> None:
    begun = time.process_time()
    with pytest.raises(LfexpError) as refused:
        await choose(workspace, given)
    assert len(str(refused.value)) < 700
    assert time.process_time() - begun < 5


async def test_not_a_number_is_no_sample() -> None:
    for given in (math.nan, math.inf):
        with pytest.raises(UsageError):
            build(RunRequest, run_name="new", dataset="Q", task_script=Path("t.py"), items=given)


async def test_a_sample_depends_on_nothing_but_the_ids(workspace: Workspace) -> None:
    twenty = await sampled(workspace, 20, MANY)
    assert len(twenty) == 20
    assert await sampled(workspace, 20, MANY[::-1]) == twenty
    # Another draw would not contain the samples that runs have had so far.
    assert sorted(twenty)[:3] == ["item 106", "item 127", "item 142"]


async def test_a_larger_sample_contains_the_smaller(workspace: Workspace) -> None:
    sizes = [await sampled(workspace, count, MANY) for count in (1, 20, 50, 399)]
    assert all(less < more for less, more in pairwise(sizes))


async def test_items_that_come_and_go_displace_no_more_of_a_sample_than_they_have_to(workspace: Workspace) -> None:
    twenty = await sampled(workspace, 20, MANY)
    more = [*MANY, *(DatasetItem(f"new {number}", number) for number in range(40))]
    grown = await sampled(workspace, 20, more)
    assert len(grown - twenty) == sum(item_id.startswith("new") for item_id in grown)
    removed = sorted(twenty)[:2]
    shrunk = await sampled(workspace, 20, [item for item in MANY if item.id not in removed])
    assert len(shrunk - twenty) == 2


async def test_a_sample_is_not_the_beginning_of_the_dataset(workspace: Workspace) -> None:
    later = sum(int(item_id.split()[1]) >= 200 for item_id in await sampled(workspace, 100, MANY))
    assert 30 < later < 70


@pytest.mark.slow
async def test_a_part_of_very_many_ids_records_few_of_them(workspace: Workspace) -> None:
    items = [DatasetItem(f"{number:036}", number) for number in range(20_001)]
    part = (await choose(workspace, [item.id for item in items[1:]], items)).part
    assert part is not None
    assert (part.of, len(part.choice.ids) + part.ids_left_out) == (20_001, 20_000)
    assert len(part.choice.ids) <= 50


async def test_live_mode_has_its_own_size() -> None:
    with pytest.raises(UsageError):
        build(RunRequest, run_name="new", source_type="live", task_script=Path("t.py"), items=3)
