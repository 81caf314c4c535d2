"""The first look at an ended run of many items: `get_run` in a process that has read nothing of it yet."""

import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import UNIT, DatasetItem, ExperimentHead, RunSpec, Score, ScriptMaker
from lfexp_mcp.runs.events import (
    Event,
    Executed,
    ItemEnded,
    ItemScored,
    ItemStarted,
    RunEnded,
    ScoresStored,
    WorkerAccepted,
    WorkerLoading,
)
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.identity import item_ids, score_id
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import load_settings
from lfexp_mcp.tools.experiments import ANSWER_AFTER_S
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.services.recording import Recorded, make_dataset, record_run

ITEMS = 100_000
DATASET = "first-look"
RUN = "run"
MAX_S = 5.0
BATCH = 100
"""Scores that Langfuse acknowledges at once."""
_MAKER = ScriptMaker("correct", "checks.py", "ab" * 32, UNIT, "declared")


def _events(experiment_id: str, created: datetime, items: list[DatasetItem]) -> Iterator[tuple[Event, ...]]:
    acknowledged: list[str] = []
    yield WorkerLoading(), WorkerAccepted(pid=1)
    for number, item in enumerate(items):
        ids = item_ids(experiment_id, created, item.id, 0)
        score = Score(
            id=score_id(experiment_id, item.id, ids.observation_id, "correct", _MAKER),
            name="correct",
            value=float(number % 2),
            data_type="NUMERIC",
            comment="The number matches.",
            timestamp=CLOCK.now(),
            maker=_MAKER,
        )
        ended = ItemEnded(
            item_id=item.id,
            status="succeeded",
            output=f"There are {number % 100} apples left in the basket.",
            task_version="0123456789ab",
            trace_id=ids.trace_id,
            root_id=ids.root_id,
            observation_id=ids.observation_id,
            started=CLOCK.now(),
            seconds=0.01,
        )
        scored = ItemScored(item_id=item.id, evaluators=("correct",), scores=(score,))
        yield ItemStarted(item_id=item.id), ended, scored
        acknowledged.append(score.id)
        if len(acknowledged) == BATCH or number == len(items) - 1:
            yield (ScoresStored(ids=tuple(acknowledged)),)
            acknowledged.clear()
    yield Executed(), RunEnded(status="completed")


def write_run(folder: RunFolder, run_spec: RunSpec) -> None:
    """Write what an ended run leaves in its folder, one score per item."""
    items = [
        DatasetItem(
            f"item-{number:06}",
            {"question": f"How many apples are left in basket {number}?"},
            str(number),
            {"topic": f"topic {number % 7}"},
        )
        for number in range(run_spec.item_count)
    ]
    folder.write_run_spec(run_spec, items)
    journal = folder.open_journal()
    for events in _events(run_spec.experiments[0].id, run_spec.created, items):
        journal.append(*events)
    journal.close()


async def first_look(bench: Bench) -> AsyncIterator[Row]:
    """Time and memory of the first `get_run` in a new process."""
    ws = bench.ws
    dataset = await make_dataset(ws, DATASET)
    await record_run(ws, dataset, RUN, [Recorded("item-000000", output="one that Langfuse shows")])
    head = ExperimentHead(id=await ws.gateway.experiments.id_of(dataset.id, RUN), name=RUN)
    now = datetime.now(UTC)
    run_spec = RunSpec(
        created=now,
        project_id=await ws.gateway.project_id(),
        base_url=ws.gateway.backend.url,
        public_key=ws.gateway.public_key,
        dataset_id=dataset.id,
        dataset_name=DATASET,
        dataset_version=now,
        item_count=ITEMS,
        experiments=(head,),
        working_folder=bench.folder,
    )
    await anyio.to_thread.run_sync(write_run, ws.runs.folder(head.id), run_spec)
    figures = await bench.in_process("first_look")
    seconds = figures["seconds"]
    name = f"first look at {ITEMS:,} items in a new process"
    yield Row(name, f"{seconds:.2f} s", f"CPU {figures['cpu']:.2f} s", "", f"<= {MAX_S:g} s", seconds <= MAX_S)
    yield Row("  peak memory", f"{figures['memory']:.0f} MB")


async def _look() -> None:
    async with open_workspace(load_settings()) as ws:
        begun, cpu = time.perf_counter(), time.process_time()
        detail = await get_run(ws, DATASET, RUN, patience_s=ANSWER_AFTER_S)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if detail.succeeded != ITEMS:
        raise RuntimeError(f"get_run told of {detail.succeeded} results: {detail.warnings}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "memory": memory}))


if __name__ == "__main__":
    anyio.run(_look)
