"""One run of ours in a process of its own; prints its figures as JSON. See `runners`."""

import json
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from lfexp_mcp.answers.run import RunAnswer, SweepAnswer
from lfexp_mcp.model import EngineOptions
from lfexp_mcp.runs.events import ItemEnded, ItemScored, ItemStarted
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.services import sweeps
from lfexp_mcp.services.experiments.workers import keep_spares
from lfexp_mcp.services.requests import RunRequest, Variant
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import load_settings
from tests.waiting import until_spares_wait


async def measure(ws: Workspace, order: dict[str, Any]) -> dict[str, Any]:
    """Run as often as ordered, and measure the last run."""
    # A server has these when it has listed its tools.
    for model in (RunRequest, RunAnswer, SweepAnswer):
        model.model_rebuild()
    if order["spares"]:
        await keep_spares(ws)
        # What the spares import is meant to be done before the call comes.
        await until_spares_wait(ws)
    for number in range(order["calls"] - 1):
        await call(ws, order, f"{order['run_name']} before {number}")
    return await call(ws, order, order["run_name"])


async def call(ws: Workspace, order: dict[str, Any], run_name: str) -> dict[str, Any]:
    """Run once and measure."""
    request = RunRequest(
        dataset=order["dataset"],
        run_name=run_name,
        task_script=Path(order["task"]),
        evaluator_script=Path(order["evaluators"]) if order["evaluators"] else None,
        max_concurrency=order["max_concurrency"],
        engine="ray" if order["ray"] else None,
        engine_options=EngineOptions(**order["ray"]) if order["ray"] else None,
        variants=[Variant(name=str(number), params={"k": number}) for number in range(order["variants"])] or None,
    )
    begun, begun_at = time.perf_counter(), datetime.now(UTC)
    answer = await sweeps.run(ws, request, wait_seconds=3600)
    seconds = time.perf_counter() - begun
    dataset = await ws.gateway.datasets.get(answer.dataset)
    ids = [await ws.gateway.experiments.id_of(dataset.id, name) for name in answer.variants or [answer.run_name]]
    events = [event for each in ids for event in JournalReader(ws.runs.folder(each).journal_path).read()]
    started = [event.at for event in events if isinstance(event, ItemStarted)]
    ended = [event.at for event in events if isinstance(event, ItemEnded | ItemScored)]
    tasks = [event for event in events if isinstance(event, ItemEnded)]
    ends = [event.started + timedelta(seconds=event.seconds or 0) for event in tasks]
    first = min(event.started for event in tasks)
    return {
        "seconds": seconds,
        "first": (first - begun_at).total_seconds(),
        "tasks": (max(ends) - first).total_seconds(),
        "execution": (max(ended) - min(started)).total_seconds(),
        "experiment_id": ids[0],
        "status": answer.status,
    }


async def main() -> None:
    """Read the order from the arguments."""
    async with open_workspace(load_settings()) as ws:
        figures = await measure(ws, json.loads(sys.argv[1]))
    # The worker ends a moment after its run has.
    await anyio.sleep(1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures |= {"cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1024}
    sys.stdout.write(json.dumps(figures))


anyio.run(main)
