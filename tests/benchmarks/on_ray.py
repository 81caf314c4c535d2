"""Runs on a Ray cluster of three nodes on this machine: their speed, and what survives when a node and a driver die."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from lfexp_mcp.model import EngineOptions
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import RunRequest
from tests.benchmarks.runners import Bench
from tests.benchmarks.scripts import EMPTY_EVALUATOR, EMPTY_TASK
from tests.benchmarks.table import Row

SLOTS = 8
NODES = 3
CONCURRENCY = NODES * SLOTS
MAX_RATIO = 1.25
LIMIT = f"<= {MAX_RATIO}"
SECOND_TASK = """
import asyncio

async def task(*, item, **kwargs):
    await asyncio.sleep(1.0)
    return item.input
"""
COUNTED_TASK = """
import asyncio, os
from langfuse import observe

@observe
async def inner(text):
    await asyncio.sleep(0.1)
    return text.upper()

async def task(*, item, **kwargs):
    fd = os.open({counts!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (item.input + "\\n").encode())
    os.close(fd)
    return await inner(item.input)
"""
THREE_EVALUATORS = """
from langfuse import observe

@observe
def look(text):
    return len(text)

def length(*, output, **kwargs):
    return look(output) / 100

def upper(*, output, **kwargs):
    return float(output.isupper())

async def same(*, output, input, **kwargs):
    return float(output == input.upper())

EVALUATORS = [length, upper, same]
"""


@contextmanager
def three_nodes() -> Iterator[tuple[str, Any]]:
    """Start a cluster; yield its address, and a node that can be killed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": SLOTS, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=SLOTS) for _ in range(NODES - 1)]
    try:
        yield str(cluster.address), nodes[0]
    finally:
        cluster.shutdown()


async def ray(bench: Bench) -> AsyncIterator[Row]:
    """400 items of a second, 10,000 empty ones beside a local run, and 2,000 during which a node and the driver die."""
    with three_nodes() as (address, node):
        async for row in _seconds(bench, address):
            yield row
        yield await _empty(bench, address)
        async for row in _deaths(bench, address, node):
            yield row


async def ray_seconds(bench: Bench) -> AsyncIterator[Row]:
    """400 items of a second, beside a plain Ray program: three minutes."""
    with three_nodes() as (address, _):
        async for row in _seconds(bench, address):
            yield row


async def _seconds(bench: Bench, address: str) -> AsyncIterator[Row]:
    dataset, task = await bench.dataset(400), bench.script("second", SECOND_TASK)
    floor = -(-400 // CONCURRENCY)
    for asked in ({}, {"num_cpus": 1}):
        case, load = f"Ray: 400 x 1 s on {NODES} x {SLOTS} {asked or ''}", f"at a load of {os.getloadavg()[0]:.0f}"
        plain, with_folder = [await _plain(bench, address, task, folder) for folder in (None, str(task.parent))]
        options = {"address": address, **asked}
        run = await bench.run("our_run", dataset, task, max_concurrency=CONCURRENCY, ray=options)
        ratio = run.tasks / floor
        yield Row(
            f"{case}, from the first call of the task to the last one's end",
            f"{run.tasks:.1f} s",
            f"floor {floor} s",
            f"{ratio:.2f}",
            LIMIT,
            ratio <= MAX_RATIO,
        )
        ratio = run.seconds / plain["seconds"]
        yield Row(
            f"{case}, the whole call",
            f"{run.seconds:.1f} s, first item after {run.first:.1f} s",
            f"plain Ray program {plain['seconds']:.1f} s, first item after {plain['first']:.1f} s, {load}",
            f"{ratio:.2f}",
            LIMIT,
            ratio <= MAX_RATIO,
        )
        yield Row(
            f"{case}, the whole call, beside a program whose folder travels as well",
            f"{run.seconds:.1f} s",
            f"plain Ray program {with_folder['seconds']:.1f} s, first item after {with_folder['first']:.1f} s",
            f"{run.seconds / with_folder['seconds']:.2f}",
        )


async def _empty(bench: Bench, address: str) -> Row:
    dataset, empty = await bench.dataset(10_000), bench.script("empty", EMPTY_TASK)
    evaluator = bench.script("nothing", EMPTY_EVALUATOR)
    local = await bench.run("our_run", dataset, empty, evaluator, max_concurrency=CONCURRENCY)
    options = {"address": address}
    there = await bench.run("our_run", dataset, empty, evaluator, max_concurrency=CONCURRENCY, ray=options)
    return Row(
        "Ray: an empty item of 10,000 + evaluator, after the start",
        f"{there.tasks / 10:.2f} ms, CPU of the worker {there.cpu / 10:.2f} ms",
        f"local {local.tasks / 10:.2f} ms, CPU {local.cpu / 10:.2f} ms",
        f"at a load of {os.getloadavg()[0]:.0f}",
    )


async def _plain(bench: Bench, address: str, task: Path, working_dir: str | None) -> dict[str, Any]:
    """Call the task 400 times by a plain Ray program.

    Args:
        bench: The benchmark.
        address: Of the cluster.
        task: The script.
        working_dir: What travels to the nodes; without it Ray takes processes that it has started ahead of time.
    """
    order = {"address": address, "task": str(task), "slots": SLOTS, "count": 400, "working_dir": working_dir}
    return await bench.in_process("plain_ray", json.dumps({**order, "begun": time.time()}))


async def _deaths(bench: Bench, address: str, node: Any) -> AsyncIterator[Row]:  # noqa: ANN401 - a node of Ray's
    dataset, counts = await bench.dataset(2000), bench.folder / "counts"
    request = RunRequest(
        dataset=dataset,
        run_name=f"deaths-{os.getpid()}",
        task_script=bench.script("counted", COUNTED_TASK.format(counts=str(counts))),
        evaluator_script=bench.script("three_ray", THREE_EVALUATORS),
        max_concurrency=CONCURRENCY,
        engine="ray",
        engine_options=EngineOptions(address=address),
    )
    since = datetime.now(UTC)
    await run_experiment(bench.ws, request, wait_seconds=0)
    while bench.ws.launches.find(dataset, request.run_name) is not None:  # noqa: ASYNC110 - another process begins it
        await anyio.sleep(0.05)
    found = await bench.gateway.datasets.get(dataset)
    folder = bench.ws.runs.folder(await bench.gateway.experiments.id_of(found.id, request.run_name))

    async def reach(count: int) -> None:
        while len(folder.read_state().ended) < count:  # noqa: ASYNC110 - another process runs
            await anyio.sleep(0.05)

    await reach(600)
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    await reach(1200)
    os.kill(folder.worker.pid or 0, signal.SIGKILL)
    await anyio.sleep(1)
    answer = await run_experiment(bench.ws, request.model_copy(update={"resume": True}), wait_seconds=3600)
    ran = Counter(counts.read_text(encoding="utf-8").split("\n")[:-1])
    again = sum(times - 1 for times in ran.values())
    results = (await bench.gateway.experiments.described_results(str(answer.experiment_id))).results
    scores = Counter(score.name for result in results for score in result.scores)
    expected = {"length": 2000, "upper": 2000, "same": 2000}
    rows = await bench.gateway.observations.find(environment="sdk-experiment", since=since, with_content=False)
    of_run = {result.trace_id for result in results}
    spans = Counter(row.name for row in rows if row.trace_id in of_run)
    once = {"experiment-item-run", "experiment-item-task", "inner", "experiment-item-evaluation", "look", *expected}
    is_whole = len(results) == 2000 and scores == expected and spans == dict.fromkeys(once, 2000)
    detail = json.dumps({"results": len(results), "scores": scores, "spans": spans, "status": answer.status})
    yield Row("Ray: 2,000 x 3 after a dead node and a dead driver", "whole" if is_whole else detail, holds=is_whole)
    # What was in flight when the node died, and when the driver did, and what its journal had not synced.
    limit = SLOTS + CONCURRENCY
    yield Row(
        "Ray: items that ran again", f"{again}", "", f"{max(ran.values())} times at most", f"<= {limit}", again <= limit
    )
