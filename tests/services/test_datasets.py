import math
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import DataFileError, JudgeError, UsageError
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.definitions.items import NewItem
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.workspace import Workspace

pytestmark = pytest.mark.anyio


async def test_importing_a_file_twice_leaves_the_dataset_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    name = f"import {uuid4().hex}"
    path = tmp_path / "items.jsonl"
    path.write_text("".join(f'{{"input": "question {number}", "expected_output": "x"}}\n' for number in range(30)))
    first = await create_dataset(workspace, name, description="d", items_file=path)
    second = await create_dataset(workspace, name, items_file=path)
    assert (first.stored, first.total_items) == (30, 30) == (second.stored, second.total_items)
    assert first.warnings == []
    assert first.next[0].tool == "run_experiment"


async def test_of_an_empty_dataset_the_next_step_is_a_call_that_fills_it(workspace: Workspace) -> None:
    name = f"empty {uuid4().hex}"
    (step,) = (await create_dataset(workspace, name)).next
    assert (step.tool, step.arguments) == ("create_dataset", {"name": name, "items_file": "<path>.jsonl"})


@pytest.mark.parametrize("metadata", [{"limit": math.nan}, {"a": [{"b": -math.inf}]}, {"a": "\ud800"}])
async def test_metadata_that_json_has_not_is_refused_before_anything_is_stored(
    workspace: Workspace, metadata: dict[str, JsonValue]
) -> None:
    name = f"no json {uuid4().hex}"
    with pytest.raises(UsageError, match="metadata of dataset"):
        await create_dataset(workspace, name, items=[NewItem(input=1)], metadata=metadata)
    assert name not in {dataset.name for dataset in await workspace.gateway.datasets()}
    judge = f"judge-{uuid4().hex}"
    with pytest.raises(JudgeError, match="config of judge"):
        await create_judge(workspace, judge, "Rate {{output}} from 0 to 10.", config=metadata)


async def test_items_without_reference_and_repeated_items_are_warned_about(workspace: Workspace) -> None:
    name = f"warned {uuid4().hex}"
    answer = await create_dataset(workspace, name, items=[NewItem(input="a"), NewItem(input="a")])
    assert answer.total_items == 1
    assert [warning.split(":")[0] for warning in answer.warnings] == [
        "2 of 2 items have no expected_output",
        "1 items are the same as, or have the id of, another item in the call",
    ]


@pytest.mark.parametrize("broken", ['{"input"', '{"input": NaN}', '{"input": ' + "[" * 300 + "]" * 300 + "}"])
async def test_a_broken_file_leaves_no_dataset_behind(workspace: Workspace, tmp_path: Path, broken: str) -> None:
    name = f"broken {uuid4().hex}"
    path = tmp_path / "items.jsonl"
    path.write_text(f'{{"input": 1}}\n{broken}\n')
    with pytest.raises(DataFileError, match="line 2"):
        await create_dataset(workspace, name, items_file=path)
    assert name not in {dataset.name for dataset in await workspace.gateway.datasets()}


async def test_an_item_without_input_or_a_dataset_without_name_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match=r"Item 2 .* has no input"):
        await create_dataset(workspace, "x", items=[NewItem(input=1), NewItem(id="b", input=None)])
    with pytest.raises(UsageError, match="needs a name"):
        await create_dataset(workspace, " ")


async def test_an_id_of_another_dataset_is_refused_as_one_plain_error(workspace: Workspace) -> None:
    taken = uuid4().hex
    await create_dataset(workspace, f"one {taken}", items=[NewItem(id=taken, input=1)])
    with pytest.raises(UsageError, match=taken):
        await create_dataset(workspace, f"two {taken}", items=[NewItem(id=taken, input=1)])
