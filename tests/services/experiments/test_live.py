"""Live mode on a store of its own, since it samples the newest traces of the whole project."""

import time
from pathlib import Path

import pytest
from langfuse import Langfuse
from langfuse.experiment import LocalExperimentItem
from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.gateway.observations import ROOTS_ONLY
from lfexp_mcp.services.experiments.live_dataset import LiveSample, sample_live, store_live
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import RunRequest, TraceFilter
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.store.process import StoreConnection

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def _sample(ws: Workspace, run_name: str, size: int) -> LiveSample:
    return await sample_live(ws, run_name, size, TraceFilter())


async def _store(ws: Workspace, run_name: str, size: int) -> Dataset:
    return await store_live(ws, await _sample(ws, run_name, size))


async def test_the_newest_production_traces_with_an_input_become_the_dataset(
    quiet: Workspace, quiet_store: StoreConnection, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="production trace"):
        await _store(quiet, "empty", 3)
    sdk = Langfuse(public_key=quiet_store.public_key, secret_key=quiet_store.secret_key, base_url=quiet_store.base_url)
    for number in range(5):
        with sdk.start_as_current_observation(name="answer", input={"q": number}) as span:
            with sdk.start_as_current_observation(name="inner", input="not a root"):
                pass
            span.update(output=f"answer {number}")
        _next_millisecond()
    with sdk.start_as_current_observation(name="no input"):
        pass
    with sdk.start_as_current_observation(name="too deep", input="[" * 180 + "]" * 180):
        pass
    sdk.run_experiment(
        name="e", run_name="r", data=[LocalExperimentItem(input="an experiment")], task=lambda *, item, **_: "x"
    )
    sdk.flush()

    task = tmp_path / "task.py"
    task.write_text("def task(*, item, **kwargs):\n    return item.input['q']\n")
    request = RunRequest(run_name="first", task_script=task, source_type="live", sample_size=3, dry_run=True)
    answer = await run_experiment(quiet, request)
    assert answer.estimate is not None
    assert (answer.status, answer.succeeded, answer.estimate.results) == ("completed", 2, 3)
    assert [dataset.name for dataset in await quiet.gateway.datasets.all()] == []

    dataset = await _store(quiet, "first", 3)
    items = sorted(await quiet.gateway.datasets.items(dataset.name), key=lambda item: str(item.input))
    assert dataset.name == "live-first"
    assert [item.input for item in items] == [{"q": 2}, {"q": 3}, {"q": 4}]
    assert items[0].metadata["production_output"] == "answer 2"
    assert items[0].expected_output is None
    roots = {root.trace_id for root in await quiet.gateway.observations.find(filter=[ROOTS_ONLY])}
    assert {item.source_trace_id for item in items} <= roots
    assert await _store(quiet, "first", 5) == dataset


async def test_a_copy_that_was_interrupted_is_completed_with_the_traces_of_then(
    quiet: Workspace, quiet_store: StoreConnection
) -> None:
    sdk = Langfuse(public_key=quiet_store.public_key, secret_key=quiet_store.secret_key, base_url=quiet_store.base_url)

    def trace(number: int) -> None:
        with sdk.start_as_current_observation(name="answer", input={"q": number}):
            pass
        _next_millisecond()

    for number in range(8):
        trace(number)
        with sdk.start_as_current_observation(name="other", input="not meant"):
            pass
    sdk.flush()
    sample = await sample_live(quiet, "cut", 5, TraceFilter(name="answer"))
    await quiet.gateway.datasets.upsert(sample.dataset.name, sample.dataset.description, sample.dataset.metadata)
    for item in sample.missing[1:3]:
        await quiet.gateway.dataset_items.upsert(
            "live-cut", id=item.id, input=item.input, metadata=item.metadata, source_trace_id=item.source_trace_id
        )
    trace(8)
    sdk.flush()
    # The copy goes on as it was begun, whatever the call that goes on with it says.
    dataset = await _store(quiet, "cut", 5)
    items = await quiet.gateway.datasets.items("live-cut")
    assert sorted(str(item.input) for item in items) == [str({"q": number}) for number in range(3, 8)]
    assert dataset.metadata == {"source": "live"}
    assert await _store(quiet, "cut", 5) == dataset
    lacking: dict[str, JsonValue] = {"copying": {"traces": 99, "until": "2026-01-01T00:00:00Z"}}
    await quiet.gateway.datasets.upsert("live-cut", None, lacking)
    with pytest.raises(UsageError, match="5 of 99"):
        await _store(quiet, "cut", 5)


def _next_millisecond() -> None:
    """Wait until Langfuse, which keeps milliseconds, can tell the next trace from the last."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == now:
        pass
