"""What an item costs to create from a file: time, and CPU of the client and of the store."""

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.address import ANNOUNCEMENT
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row

ITEMS = 10_000
SINGLE_ITEMS = 2_000
TIMES = 3
MS_PER_ITEM = 1.0


def write_items(path: Path, count: int, prefix: str = "item") -> None:
    """Write a file of items with ids `<prefix>-000000` and so on."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            question = {"question": f"How many apples are left in basket {number}?"}
            item = {"id": f"{prefix}-{number:06}", "input": question, "expected_output": str(number)}
            file.write(json.dumps(item | {"metadata": {"topic": f"topic {number % 7}"}}) + "\n")


async def create(bench: Bench) -> AsyncIterator[Row]:
    """On the embedded store, which takes lists, and on it as on any Langfuse server, which takes one item a request."""
    # The bench's own store, but as it is used without keys.
    async with open_workspace(Settings(home=bench.folder)) as ws:
        wall, *cpu = min([await _measure(bench, ws, ITEMS, f"lists-{time}") for time in range(TIMES)])
    yield _row(f"{ITEMS:,} items, an item", wall, cpu, f"<= {MS_PER_ITEM:g} ms", wall <= MS_PER_ITEM)
    wall, *cpu = await _measure(bench, bench.ws, SINGLE_ITEMS, "single")
    yield _row(f"{SINGLE_ITEMS:,} items one by one, an item", wall, cpu)


def _row(case: str, wall: float, cpu: list[float], target: str = "", holds: bool | None = None) -> Row:
    client, store = cpu
    return Row(f"create {case}", f"{wall:.2f} ms", f"CPU {client:.2f} + {store:.2f} ms", "", target, holds)


async def _measure(bench: Bench, ws: Workspace, count: int, name: str) -> tuple[float, float, float]:
    """Create a dataset; return its time, the client's CPU and the store's, in ms an item."""
    file = bench.folder / f"{name}.jsonl"
    write_items(file, count, name)
    begun, client, store = time.perf_counter(), time.process_time(), _store_cpu(bench)
    answer = await create_dataset(ws, name, items_file=file)
    spent = (time.perf_counter() - begun, time.process_time() - client, _store_cpu(bench) - store)
    if answer.total_items != count:
        raise RuntimeError(f"{answer.total_items} of {count} items were created")
    wall, client, store = (seconds / count * 1000 for seconds in spent)
    return wall, client, store


def _store_cpu(bench: Bench) -> float:
    """CPU seconds that the process of the store has used; only Linux tells."""
    pid = json.loads((bench.folder / "store" / ANNOUNCEMENT).read_text(encoding="utf-8"))["pid"]
    try:
        # Fields 14 and 15 of proc(5), counted behind the command's name.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
