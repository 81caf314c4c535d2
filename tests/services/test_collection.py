"""Collecting datasets from runs and from production traces."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from langfuse import Langfuse
from pydantic import JsonValue

from lfexp_mcp.errors import BackendError, NotFoundError, UsageError
from lfexp_mcp.model import (
    SOURCE_KEY,
    DatasetItem,
    ItemChoice,
    JudgeMaker,
    Provenance,
    RecordedStatus,
    Repeats,
    RunPlan,
    Scale,
)
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.services.collection import fill_dataset
from lfexp_mcp.services.definitions import NewItem
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.experiments.live_dataset import sample_live, store_live
from lfexp_mcp.services.requests import CollectRequest, TraceFilter, build
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.store.process import StoreConnection
from tests.faults.proxy import Fault, FaultProxy, Request
from tests.services.recording import Recorded, RecordedRun, record_run

pytestmark = pytest.mark.anyio
JUDGE = JudgeMaker("judge-acc", 1, "openai", "m", Scale(0, 10), "prompt config")
VALUES = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 0.2, 6: 0.2, 7: 0.5, 9: None, 10: None, 11: 0.0}


async def _ran(ws: Workspace, name: str) -> RecordedRun:
    """A dataset of twelve items and run `r` on it: 5, 6 and 11 score low, 7 half, 8 fails, 9 and 10 have no score."""
    items = [
        NewItem(
            id=f"{name}-{n}",
            input="123" if n == 6 else {"q": n},
            expected_output=None if n == 11 else f"e{n}",
            metadata={"n": n, "source": "theirs", "half": "ab"[n % 2]},
        )
        for n in range(1, 13)
    ]
    await create_dataset(ws, name, items=items)
    dataset = await ws.gateway.datasets.get(name)
    results = [
        Recorded(
            f"{name}-{n}",
            output=None if n == 11 else f"out {n}",
            scores={} if value is None else {"acc": value},
            metadata={"n": n},
        )
        for n, value in VALUES.items()
    ]
    results += [
        Recorded(f"{name}-8", output="Error: boom", failed=True),
        Recorded(f"{name}-12", output="Error: first try", failed=True),
        Recorded(f"{name}-12", output="out 12", scores={"acc": 0.9}),
    ]
    return await record_run(ws, dataset, "r", results, makers={"acc": JUDGE})


async def _collect(ws: Workspace, name: str, source: str, only: JsonValue = None) -> Sequence[DatasetItem]:
    request = build(CollectRequest, dataset=source, from_run="r", only=only)
    await fill_dataset(ws, name, request)
    return await ws.gateway.datasets.items(name)


def _origins(items: Sequence[DatasetItem]) -> list[int]:
    found = []
    for item in items:
        source = item.metadata[SOURCE_KEY]
        assert isinstance(source, dict)
        found.append(int(str(source["item_id"]).rpartition("-")[2]))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (None, list(range(1, 13))),
        ("all", list(range(1, 13))),
        ("failing", [5, 6, 7, 8, 11]),
        ("FAILED", [5, 6, 7, 8, 11]),
        ("errored", [8]),
        ({"below": 0.5, "score": "acc"}, [5, 6, 11]),
        ({"below": "5/10", "score": "acc"}, [5, 6, 11]),
        ('{"below": 0.5, "score": "acc", "where": "half=a"}', [6]),
        ("half=a", [2, 4, 6, 8, 10, 12]),
        ("100", list(range(1, 13))),
    ],
)
async def test_items_of_a_run_are_collected_by_its_results(
    workspace: Workspace, only: JsonValue, expected: list[int]
) -> None:
    name = f"collect-{only}"[:40]
    await _ran(workspace, name)
    assert _origins(await _collect(workspace, f"{name}-F", name, only)) == expected
    assert len(await workspace.gateway.datasets.items(name)) == 12


def test_ids_and_a_number_may_come_as_text_as_the_shell_gives_them() -> None:
    def chosen(only: JsonValue) -> ItemChoice:
        return build(CollectRequest, dataset="d", from_run="r", only=only).choice

    assert chosen('["a", "7"]') == chosen(["a", "7"]) == ItemChoice(ids=("a", "7"))
    assert chosen("ALL") == chosen(None) == ItemChoice()
    assert chosen({"run": "r", "which": "errored"}) == chosen("errored")
    assert chosen("7") == chosen(7) == ItemChoice(sample=7)


async def test_a_collected_item_is_the_datasets_with_the_runs_answer_as_a_reference(workspace: Workspace) -> None:
    run = await _ran(workspace, "collect-what")
    items = {
        _origins([item])[0]: item for item in await _collect(workspace, "collect-what-F", "collect-what", "failing")
    }
    source = {"dataset": "collect-what", "item_id": "collect-what-5", "run_name": "r", "output": "out 5"}
    assert (items[5].input, items[5].expected_output) == ({"q": 5}, "e5")
    assert items[5].metadata == {"n": 5, "source": "theirs", "half": "b", SOURCE_KEY: source}
    assert items[5].source_trace_id == run.traces["collect-what-5"]
    assert items[6].input == "123"
    assert items[11].expected_output is None
    errored = items[8].metadata[SOURCE_KEY]
    assert isinstance(errored, dict)
    assert errored["error"] == "boom"
    assert "output" not in errored
    row = workspace.gateway._transport.http
    stored = (await row.get(f"/api/public/dataset-items/{items[5].id}")).json()
    assert stored["sourceObservationId"] == run.observations["collect-what-5"]


@pytest.mark.slow
async def test_collecting_twice_adds_nothing_and_keeps_what_was_edited(workspace: Workspace) -> None:
    await _ran(workspace, "collect-twice")
    request = build(CollectRequest, dataset="collect-twice", from_run="r", only="errored")
    first = await fill_dataset(workspace, "collect-twice-F", request)
    (item,) = await workspace.gateway.datasets.items("collect-twice-F")
    assert (first.stored, first.total_items) == (1, 1)
    described = await workspace.gateway.datasets.get("collect-twice-F")
    assert "'r'" in (described.description or "")
    await workspace.gateway.dataset_items.upsert(
        "collect-twice-F", id=item.id, input=item.input, expected_output="corrected", metadata=item.metadata
    )
    wider = build(CollectRequest, dataset="collect-twice", from_run="r", only="failing")
    second = await fill_dataset(workspace, "collect-twice-F", wider)
    assert (second.stored, second.total_items) == (4, 5)
    assert any(re.match(r"1 of 5\b", warning) for warning in second.warnings)
    items = await workspace.gateway.datasets.items("collect-twice-F")
    assert [one.expected_output for one in items if one.id == item.id] == ["corrected"]


@pytest.mark.slow
async def test_what_chooses_nothing_or_means_two_things_creates_no_dataset(workspace: Workspace) -> None:
    await _ran(workspace, "collect-not")
    refused: list[tuple[dict[str, JsonValue], str]] = [
        ({"dataset": "collect-not", "from_run": "r", "only": {"score": "acc", "below": 0.01, "where": "n=1"}}, "n"),
        ({"dataset": "collect-not", "from_run": "r", "only": {"score": "tone", "below": 0.5}}, "tone"),
        ({"dataset": "collect-not", "from_run": "r", "only": ["nope"]}, "nope"),
        ({"dataset": "collect-not", "from_run": "q"}, "q"),
        ({"dataset": "collect-none", "from_run": "r"}, "collect-none"),
    ]
    for given, named in refused:
        with pytest.raises((UsageError, NotFoundError), match=named):
            await fill_dataset(workspace, "collect-not-F", build(CollectRequest, **given))
    with pytest.raises(UsageError, match="'collect-not'"):
        await _collect(workspace, "collect-not", "collect-not")
    both = build(CollectRequest, dataset="collect-not", from_run="r")
    with pytest.raises(UsageError, match="from_run"):
        await fill_dataset(workspace, "collect-not-F", both, items=[NewItem(input="x")])
    assert "collect-not-F" not in {dataset.name for dataset in await workspace.gateway.datasets.all()}


@pytest.mark.parametrize(
    "given",
    [
        {"from_run": "r"},
        {"dataset": "d"},
        {"only": "failing"},
        {"traces": {}, "only": "failing"},
        {"dataset": "d", "from_run": "r", "traces": {}},
        {"dataset": "d", "from_run": "r", "sample_size": 3},
        {"traces": {}, "sample_size": 0},
        {"dataset": "d", "from_run": "r", "only": "passing"},
        {"dataset": "d", "from_run": "r", "only": "foo"},
        {"dataset": "d", "from_run": "r", "only": "{broken"},
        {"dataset": "d", "from_run": "r", "only": {"score": "acc", "below": 5}},
        {"dataset": "d", "from_run": "r", "only": {"which": "passed"}},
        {"dataset": "d", "from_run": "r", "only": {"run": "another", "which": "failed"}},
        {"dataset": "d", "from_run": "r", "only": {}},
        {"dataset": "d", "from_run": "r", "only": []},
        {"dataset": "d", "from_run": "r", "only": ""},
        {"dataset": "d", "from_run": "r", "only": True},
        {"dataset": "d", "from_run": "r", "only": 0},
    ],
)
def test_a_request_that_would_copy_something_else_is_refused(given: dict[str, JsonValue]) -> None:
    with pytest.raises(UsageError):
        build(CollectRequest, **given)


async def test_an_item_without_a_place_in_the_dataset_is_counted(workspace: Workspace) -> None:
    run = await _ran(workspace, "collect-gone")
    await record_run(
        workspace,
        run.dataset,
        "with-others",
        [Recorded("elsewhere", output="x"), Recorded("collect-gone-1", output="y")],
    )
    request = build(CollectRequest, dataset="collect-gone", from_run="with-others")
    answer = await fill_dataset(workspace, "collect-gone-F", request)
    assert answer.stored == 1
    assert any("'with-others'" in warning for warning in answer.warnings)


async def test_with_repeats_an_item_is_collected_once_with_its_worst_result(workspace: Workspace) -> None:
    await create_dataset(workspace, "collect-repeats", items=[NewItem(id="rep-1", input="q")])
    dataset = await workspace.gateway.datasets.get("collect-repeats")
    for repeat, (output, value) in enumerate([("good", 1.0), ("bad", 0.1), ("fair", 0.9)]):
        own: dict[str, JsonValue] = {"lfexp": Provenance(repeats=Repeats(3, repeat, "r")).as_json()}
        result = Recorded("rep-1", output=output, scores={"s": value})
        await record_run(workspace, dataset, repeat_name("r", repeat), [result], metadata=own)
    items = await _collect(workspace, "collect-repeats-F", "collect-repeats", "failing")
    sources = [item.metadata[SOURCE_KEY] for item in items]
    assert [source["output"] for source in sources if isinstance(source, dict)] == ["bad"]


@pytest.mark.slow
async def test_what_is_collected_of_a_part_of_a_run_is_said_to_be(workspace: Workspace) -> None:
    await create_dataset(workspace, "collect-part", items=[NewItem(id=f"part-{n}", input="q") for n in range(12)])
    dataset = await workspace.gateway.datasets.get("collect-part")
    plan = RunPlan(12, scores=("acc",), makers=(JUDGE,))
    mark = RecordedStatus("cancelled", datetime.now(UTC), plan, 6, makers=(JUDGE,))
    results = [Recorded(f"part-{n}", output="o", scores={"acc": n / 10}) for n in range(6)]
    await record_run(workspace, dataset, "r", results, makers={"acc": JUDGE}, mark=mark)
    for only in ("failing", "all"):
        request = build(CollectRequest, dataset="collect-part", from_run="r", only=only)
        answer = await fill_dataset(workspace, f"collect-part-{only}", request)
        assert answer.stored == 6
        assert any("cancelled" in warning and "6 of its" in warning for warning in answer.warnings), answer.warnings
        described = await workspace.gateway.datasets.get(f"collect-part-{only}")
        assert "6 of 6 with results" in (described.description or "")


@pytest.mark.slow
async def test_collecting_that_was_cut_off_is_completed_by_the_same_call(
    workspace: Workspace, store: StoreConnection
) -> None:
    await create_dataset(workspace, "collect-cut", items=[NewItem(id=f"cut-{n}", input={"n": n}) for n in range(40)])
    dataset = await workspace.gateway.datasets.get("collect-cut")
    await record_run(workspace, dataset, "r", [Recorded(f"cut-{n}", output=n) for n in range(40)])
    request = build(CollectRequest, dataset="collect-cut", from_run="r")
    with FaultProxy(store.base_url) as proxy:
        settings = workspace.settings.model_copy(update={"langfuse_url": proxy.url})
        async with open_workspace(settings) as through:
            posted: list[int] = []

            def refuse_some(asked: Request) -> Fault | None:
                if asked.method == "POST" and "dataset-items" in asked.path:
                    posted.append(asked.number)
                    return Fault(status=400) if len(posted) > 11 else None
                return None

            proxy.faults = refuse_some
            with pytest.raises(BackendError):
                await fill_dataset(through, "collect-cut-F", request)
    stored = await workspace.gateway.datasets.items("collect-cut-F")
    # Requests that are under way when one is refused are cut off, too.
    assert 0 < len(stored) <= 11
    answer = await fill_dataset(workspace, "collect-cut-F", request)
    assert 29 <= answer.stored < 40
    assert answer.total_items == 40


@pytest.mark.slow
async def test_traces_are_collected_once_and_as_live_mode_samples_them(
    quiet: Workspace, quiet_store: StoreConnection
) -> None:
    sdk = Langfuse(public_key=quiet_store.public_key, secret_key=quiet_store.secret_key, base_url=quiet_store.base_url)

    def trace(number: int) -> None:
        with sdk.start_as_current_observation(name="chat" if number % 2 else "other", input={"q": number}) as span:
            span.update(output="null" if number == 3 else f"a{number}")
        sdk.flush()

    for number in range(6):
        trace(number)
    request = build(CollectRequest, traces={"name": "chat"}, sample_size=2)
    answer = await fill_dataset(quiet, "F", request)
    items = await quiet.gateway.datasets.items("F")
    assert sorted(str(item.input) for item in items) == ["{'q': 3}", "{'q': 5}"]
    assert {(item.expected_output, item.metadata["production_output"]) for item in items} == {
        (None, "null"),
        (None, "a5"),
    }
    assert (answer.stored, answer.total_items) == (2, 2)
    assert "name=chat" in ((await quiet.gateway.datasets.get("F")).description or "")
    live = await store_live(quiet, await sample_live(quiet, "one", 2, TraceFilter(name="chat")))
    copied = await quiet.gateway.datasets.items(live.name)
    assert {item.source_trace_id for item in copied} == {item.source_trace_id for item in items}
    assert {item.id for item in copied}.isdisjoint(item.id for item in items)

    trace(7)
    again = await fill_dataset(quiet, "F", build(CollectRequest, traces={"name": "chat"}, sample_size=10))
    assert (again.stored, again.total_items) == (2, 4)
    assert any(warning.startswith("4 of the 10 traces") for warning in again.warnings)
    added = await fill_dataset(quiet, "live-one", build(CollectRequest, traces={"name": "chat"}, sample_size=10))
    assert (added.stored, added.total_items) == (2, 4)
    with pytest.raises(UsageError, match="user=nobody"):
        await fill_dataset(quiet, "G", build(CollectRequest, traces={"user": "nobody"}))
    assert {dataset.name for dataset in await quiet.gateway.datasets.all()} == {"F", "live-one"}
