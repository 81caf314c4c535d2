import math
import re
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import BackendError, ConfirmationError, DataFileError, JudgeError, UsageError
from lfexp_mcp.services.definitions import ItemProgress, NewItem, item_store
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.faults.proxy import FaultProxy
from tests.gateway.scripted_server import Reply, scripted_server
from tests.gateway.test_datasets import LIKE_JSON
from tests.worker.scene import Scene

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
    with pytest.raises(UsageError, match=name):
        await create_dataset(workspace, name, items=[NewItem(input=1)], metadata=metadata)
    assert name not in {dataset.name for dataset in await workspace.gateway.datasets.all()}
    judge = f"judge-{uuid4().hex}"
    with pytest.raises(JudgeError, match=judge):
        await create_judge(workspace, judge, "Rate {{output}} from 0 to 10.", config=metadata)


async def test_items_without_reference_and_repeated_items_are_warned_about(workspace: Workspace) -> None:
    name = f"warned {uuid4().hex}"
    answer = await create_dataset(workspace, name, items=[NewItem(input="a"), NewItem(input="a")])
    assert answer.total_items == 1
    unreferenced, repeated = answer.warnings
    assert re.match(r"2 of 2\b.*\bexpected_output\b", unreferenced)
    assert re.match(r"1\b", repeated)


@pytest.mark.parametrize("broken", ['{"input"', '{"input": NaN}', '{"input": ' + "[" * 300 + "]" * 300 + "}"])
async def test_a_broken_file_leaves_no_dataset_behind(workspace: Workspace, tmp_path: Path, broken: str) -> None:
    name = f"broken {uuid4().hex}"
    path = tmp_path / "items.jsonl"
    path.write_text(f'{{"input": 1}}\n{broken}\n')
    with pytest.raises(DataFileError, match="line 2"):
        await create_dataset(workspace, name, items_file=path)
    assert name not in {dataset.name for dataset in await workspace.gateway.datasets.all()}


async def test_an_item_without_input_or_a_dataset_without_name_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match=r"Item 2 .*input"):
        await create_dataset(workspace, "x", items=[NewItem(input=1), NewItem(id="b", input=None)])
    with pytest.raises(UsageError, match="name"):
        await create_dataset(workspace, " ")


@pytest.mark.parametrize("name", [" ", "..", "two\nlines"])
async def test_a_dataset_that_could_not_be_read_is_refused_before_its_file_is(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="name"):
        await create_dataset(workspace, name, items_file=tmp_path / "missing.jsonl")


async def test_an_id_of_another_dataset_is_refused_before_anything_is_stored(workspace: Workspace) -> None:
    taken = uuid4().hex
    await create_dataset(workspace, f"one {taken}", items=[NewItem(id=taken, input=1)])
    items = [NewItem(id=f"free {taken}", input=0), NewItem(id=taken, input=1)]
    with pytest.raises(UsageError, match=taken):
        await create_dataset(workspace, f"two {taken}", items=items)
    assert f"two {taken}" not in {dataset.name for dataset in await workspace.gateway.datasets.all()}
    assert await workspace.gateway.datasets.find_items([f"free {taken}"], str) == {}
    again = await create_dataset(workspace, f"one {taken}", items=items)
    assert (again.stored, again.total_items) == (2, 2)


@pytest.mark.slow
async def test_what_would_be_replaced_is_counted_without_reading_the_dataset_and_what_is_held_out_never_is(
    settings: Settings,
) -> None:
    name = f"replaced {uuid4().hex}"

    def items(value: str) -> list[NewItem]:
        return [NewItem(id=f"{name} {n}", input=value, metadata={"part": "ab"[n % 2]}) for n in range(6)]

    with FaultProxy(settings.langfuse_url) as proxy:
        async with open_workspace(settings.model_copy(update={"langfuse_url": proxy.url})) as ws:
            await create_dataset(ws, name, items=items("old"), holdout="part=b", agreed=())
            proxy.requests.clear()
            with pytest.raises(ConfirmationError) as refused:
                await create_dataset(ws, name, items=items("new"), agreed=())
            assert refused.value.question.startswith("Replace 3 items")
            assert not any("datasetName=" in request.path for request in proxy.requests)
            await create_dataset(ws, name, items=items("new"), agreed={refused.value.question})
            inputs = [[item.input for item in part] for part in await ws.gateway.datasets.split_items(name)]
            assert inputs == [["new"] * 3, ["old"] * 3]


async def test_items_that_are_there_as_given_are_not_sent_again(settings: Settings) -> None:
    name = f"again {uuid4().hex}"
    contents: list[JsonValue] = ["a", "7500", 1, {"k": [1.5, None]}, "edited later"]
    items = [NewItem(id=f"{name} {n}", input=each, metadata={"n": n}) for n, each in enumerate(contents)]
    with FaultProxy(settings.langfuse_url) as proxy:
        async with open_workspace(settings.model_copy(update={"langfuse_url": proxy.url})) as ws:
            assert (await create_dataset(ws, name, items=items)).stored == 5
            before = {item.id: item for item in await ws.gateway.datasets.items(name)}
            items[-1] = items[-1].model_copy(update={"input": "edited"})
            proxy.requests.clear()
            answer = await create_dataset(ws, name, items=items)
            # Not how many of them: the answer must not tell which are held out, and stay as well.
            assert (answer.stored, answer.total_items) == (5, 5)
            written = [request for request in proxy.requests if request.path == "/api/public/dataset-items"]
            assert [request.method for request in written] == ["POST"]
            after = {item.id: item for item in await ws.gateway.datasets.items(name)}
            assert [item_id for item_id in after if after[item_id] != before[item_id]] == [f"{name} 4"]


async def test_of_several_items_with_one_id_the_last_is_stored(workspace: Workspace) -> None:
    name = f"last {uuid4().hex}"
    items = [NewItem(id=f"{name}-{number % 2}", input=number) for number in range(40)]
    answer = await create_dataset(workspace, name, items=items)
    assert (answer.stored, answer.total_items) == (2, 2)
    assert sorted(str(item.input) for item in await workspace.gateway.datasets.items(name)) == ["38", "39"]


async def test_progress_is_told_while_items_are_stored(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_store, "REPORT_INTERVAL_S", 0.0)
    told: list[ItemProgress] = []

    async def tell(progress: ItemProgress) -> None:
        told.append(progress)

    name = f"progress {uuid4().hex}"
    await create_dataset(workspace, name, items=[NewItem(input=number) for number in range(40)], on_progress=tell)
    assert told == [ItemProgress(40, stored, 40) for stored in range(41)]


@pytest.mark.parametrize("inputs", [[], [1, 2], [1, 2, 4], [1, 2, 3, 4]])
async def test_items_that_are_others_than_those_checked_are_said_to_be(workspace: Workspace, inputs: list[int]) -> None:
    name = f"file {uuid4().hex}"
    await create_dataset(workspace, name)
    survey = item_store.survey_items(name, lambda: [NewItem(input=number) for number in (1, 2, 3)])
    with pytest.raises(UsageError, match="items"):
        await item_store.store_items(workspace, name, [NewItem(input=number) for number in inputs], survey)


@pytest.mark.parametrize(
    ("there", "given", "is_same"),
    [
        (1, 1.0, True),
        ({"a": [1, 2.5], "b": 1}, {"b": 1, "a": [1, 2.5]}, True),
        (1, True, False),
        (0, None, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        ("é", "e\u0301", False),
    ],
)
def test_what_an_item_holds_is_compared_as_json_has_it(there: JsonValue, given: JsonValue, is_same: bool) -> None:
    one, other = (item_store.content_digest(NewItem(input="q", metadata={"x": each})) for each in (there, given))
    assert (one == other) is is_same


async def test_an_item_that_comes_back_changed_is_named(workspace: Workspace) -> None:
    name = f"changed {uuid4().hex}"
    items = [NewItem(id=f"{name} nul", input="a\0b"), NewItem(id=f"{name} same", input="ab", expected_output="1")]
    answer = await create_dataset(workspace, name, items=items)
    [warning] = [warning for warning in answer.warnings if "differently" in warning]
    assert (f"{name} nul" in warning, f"{name} same" in warning) == (True, False)


async def test_a_failure_halfway_tells_what_is_stored_and_how_to_go_on(tmp_path: Path) -> None:
    dataset: JsonValue = {
        "id": "d", "name": "d", "projectId": "p", "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z", "metadata": None,
    }  # fmt: skip
    with scripted_server() as server:
        server.replies = [Reply(404, {"message": "none"}), Reply(body=dataset), Reply(413, {"message": "too large"})]
        keys = {"langfuse_public_key": "pk", "langfuse_secret_key": SecretStr("sk")}
        settings = Settings.model_validate({**keys, "langfuse_url": server.url, "home": tmp_path})
        async with open_workspace(settings) as workspace:
            with pytest.raises(BackendError, match=r"too large.* 0 of 1 .*'d'"):
                await create_dataset(workspace, "d", items=[NewItem(input=1)])


@pytest.mark.slow
async def test_a_task_gets_the_texts_that_were_given(workspace: Workspace, tmp_path: Path) -> None:
    scene = Scene(workspace, tmp_path)
    items = [NewItem(id=f"{scene.dataset}-{n}", input=text, expected_output=text) for n, text in enumerate(LIKE_JSON)]
    await create_dataset(workspace, scene.dataset, items=items)
    task = scene.script("def task(*, item, **_): return {'given': [item.input, item.expected_output]}")
    await scene.run(task)
    results = {item.item_id: item.output for item in (await scene.record()).items}
    assert results == {item.id: {"given": [item.input, item.expected_output]} for item in items}
