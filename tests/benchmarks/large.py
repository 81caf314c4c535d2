"""Runs of 100,000 items on the embedded store, as a client sees them over stdio: how long each answer takes."""

import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import anyio
from mcp import Client
from pydantic import JsonValue

from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import stop_store
from tests.benchmarks.creating import write_items
from tests.benchmarks.runners import Bench
from tests.benchmarks.scripts import CHECK, COUNTING_TASK
from tests.benchmarks.table import Row
from tests.tools.conftest import stdio_server, text_of

ITEMS = 100_000
DATASET = "large"
LATENESS_S = 5.0
"""How much later than its wait an answer may come."""
PAGE_S = 1.0
"""How long a page may take once the run has been read."""
COMPARE_S = 30.0
CREATE_S_PER_ITEM = 0.001
TIMEOUT_S = 3600.0

Call = tuple[str, dict[str, JsonValue]]

FIRST: Call = ("get_run", {"wait_seconds": 0})
WHOLE: Call = ("get_run", {"wait_seconds": 60})
"""Answers as soon as all of the run has been read."""
AGAIN: list[Call] = [
    FIRST,
    ("get_run", {"limit": 1}),
    ("get_run", {"limit": 5, "cursor": "<next>"}),
    ("get_run", {"item_id": "item-050000"}),
    ("get_run", {"item_id": "item-000001"}),
]


async def _calls(home: Path, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Make calls to a new server, one after the other; a cursor `<next>` is that of the answer before."""
    shown: list[dict[str, Any]] = []
    cursor: JsonValue = None
    async with Client(stdio_server(home, None), read_timeout_seconds=TIMEOUT_S) as client:
        for tool, arguments in calls:
            given = {name: cursor if value == "<next>" else value for name, value in arguments.items()}
            begun = time.perf_counter()
            result = await client.call_tool(tool, given)
            seconds = time.perf_counter() - begun
            answer = result.structured_content or {}
            cursor = answer.get("next_cursor") or cursor
            known = {name: answer.get(name) for name in ("status", "succeeded", "warnings", "error")}
            shown.append(
                {"seconds": seconds, "items": len(answer.get("items", ())), "tokens": len(text_of(result)) // 4} | known
            )
    return shown


async def session(home: Path, calls: Sequence[Call]) -> tuple[list[dict[str, Any]], float]:
    """Make calls to a new server from a process of their own.

    Returns:
        What each call answered and took; the server's peak memory in MB.
    """
    command = [sys.executable, "-m", "tests.benchmarks.large", str(home), json.dumps(calls)]
    done = await anyio.run_process(command, check=True, stderr=None)
    told = json.loads(done.stdout)
    return told["calls"], told["memory"]


def _rows(case: str, calls: Sequence[Call], told: Sequence[dict[str, Any]], target: float) -> Iterator[Row]:
    for (tool, arguments), answer in zip(calls, told, strict=True):
        shown = ", ".join(f"{name}={value}" for name, value in arguments.items() if name not in ("dataset", "run_name"))
        known = "error" if answer["error"] else "unknown" if answer["succeeded"] is None else f"{answer['succeeded']:,}"
        seconds = answer["seconds"]
        yield Row(f"{case}: {tool} {shown}", f"{seconds:.2f} s", known, "", f"<= {target:g} s", seconds <= target)


def _of_run(run_name: str, calls: Sequence[Call]) -> list[Call]:
    return [(tool, {"dataset": DATASET, "run_name": run_name, **arguments}) for tool, arguments in calls]


async def looks(home: Path, run_name: str, case: Literal["running", "ended"]) -> AsyncIterator[Row]:
    """Look at one run from a new server, and then from the same again."""
    first = [FIRST, WHOLE] if case == "ended" else [FIRST]
    calls = _of_run(run_name, [*first, *AGAIN])
    told, memory = await session(home, calls)
    new, target = len(first), PAGE_S if case == "ended" else LATENESS_S
    for row in _rows(f"{case}, new server", calls[:1], told[:1], LATENESS_S):
        yield row
    for row in _rows(f"{case}, then", calls[1:new], told[1:new], COMPARE_S):
        yield row
    for row in _rows(f"{case}, again", calls[new:], told[new:], target):
        yield row
    yield Row(f"{case}: peak memory of the server", f"{memory:.0f} MB")


async def analyses(home: Path, runs: Sequence[str]) -> AsyncIterator[Row]:
    """Compare two runs and analyze one, each in a new server."""
    calls: list[tuple[Call, float]] = [
        (("compare_runs", {"dataset": DATASET, "runs": [*runs]}), COMPARE_S),
        (("analyze_run", {"dataset": DATASET, "run_name": runs[0]}), COMPARE_S),
        (("list_runs", {"dataset": DATASET}), LATENESS_S),
    ]
    for call, target in calls:
        told, memory = await session(home, [call, call])
        for row in _rows("ended, new server", [call, call], told, target):
            yield row
        yield Row(f"{call[0]}: peak memory of the server", f"{memory:.0f} MB")


async def large(bench: Bench) -> AsyncIterator[Row]:
    """Create a dataset, run it twice, and look at the runs while they run and after."""
    home, items = bench.folder / "large", bench.folder / "large.jsonl"
    write_items(items, ITEMS)
    scripts: dict[str, JsonValue] = {
        "dataset": DATASET,
        "task_script": str(bench.script("counting", COUNTING_TASK)),
        "evaluator_script": str(bench.script("check", CHECK)),
        "max_concurrency": 20,
        "wait_seconds": 0,
    }
    try:
        told, memory = await session(home, [("create_dataset", {"name": DATASET, "items_file": str(items)})])
        for row in _rows("100,000 items", [("create_dataset", {})], told, ITEMS * CREATE_S_PER_ITEM):
            yield row
        yield Row("create_dataset: peak memory of the server", f"{memory:.0f} MB")
        for run_name in ("one", "two"):
            start: Call = ("run_experiment", {**scripts, "run_name": run_name})
            half: Call = ("get_run", {"dataset": DATASET, "run_name": run_name, "wait_seconds": 90})
            told, _ = await session(home, [start, half])
            for row in _rows("begun", [start], told[:1], LATENESS_S):
                yield row
            async for row in looks(home, run_name, "running"):
                yield row
            await session(home, [("get_run", {**half[1], "wait_seconds": TIMEOUT_S})])
        async for row in looks(home, "one", "ended"):
            yield row
        async for row in analyses(home, ("one", "two")):
            yield row
    finally:
        stop_store(Settings(home=home).store_folder)


async def main(home: Path, calls: Sequence[Call]) -> None:
    """Make the calls, and print what they took as JSON."""
    told = await _calls(home, calls)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"calls": told, "memory": memory}))


if __name__ == "__main__":
    for key in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_HOST"):
        os.environ.pop(key, None)
    anyio.run(main, Path(sys.argv[1]), json.loads(sys.argv[2]))
