"""Peak memory of a run's worker and of the server, for a number of items and ten times as many.

The peaks are those that Linux keeps of each process.
"""

import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from mcp import Client
from pydantic import JsonValue

from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import stop_store
from tests.benchmarks.creating import write_items
from tests.benchmarks.runners import Bench
from tests.benchmarks.scripts import CHECK, COUNTING_TASK
from tests.benchmarks.table import Row
from tests.tools.conftest import stdio_server

FACTOR = 10
LIMIT = 1.5
"""How many times the memory of a tenth of the items all of them may take."""
POLL_S = 0.5
TIMEOUT_S = 3600.0
DATASET, RUN = "memory", "one"

Session = Callable[[Client], Awaitable[None]]


@dataclass
class Peaks:
    """MB of the server and of the worker, by what they did."""

    home: Path
    found: dict[tuple[str, str], float] = field(default_factory=dict)

    async def measure(self, case: str, session: Session) -> None:
        """Measure while a client speaks with a new server."""
        async with (
            Client(stdio_server(self.home, None), read_timeout_seconds=TIMEOUT_S) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(self._watch, case)
            await session(client)
            # What ends with the last answer is seen once more.
            await anyio.sleep(2 * POLL_S)
            group.cancel_scope.cancel()

    async def _watch(self, case: str) -> None:
        while True:
            for what, pid in (("server", _server()), ("worker", self.worker())):
                if pid is not None:
                    self.found[case, what] = max(self.found.get((case, what), 0.0), _peak_mb(pid))
            await anyio.sleep(POLL_S)

    def worker(self) -> int | None:
        """Return the process id of the only run's worker, None if it has none."""
        for note in self.home.glob("runs/*/worker.json"):
            with suppress(ValueError):
                pid: int | None = json.loads(note.read_text())["pid"]
                return pid
        return None


def _server() -> int | None:
    """Return the process id of the server that this process has started."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2:] == [b"lfexp_mcp", b""]:
                    return int(pid)
    return None


def _peak_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


async def peaks_of(bench: Bench, count: int) -> dict[tuple[str, str], float]:
    """Run so many items, kill the worker at half of them, resume the run and look at it; return the peaks in MB."""
    for key in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_HOST"):
        # The runs are on an embedded store of their own.
        os.environ.pop(key, None)
    home, items = bench.folder / f"memory-{count}", bench.folder / f"memory-{count}.jsonl"
    write_items(items, count)
    run: dict[str, JsonValue] = {"dataset": DATASET, "run_name": RUN}
    scripts: dict[str, JsonValue] = {
        **run,
        "task_script": str(bench.script("counting", COUNTING_TASK)),
        "evaluator_script": str(bench.script("check", CHECK)),
        "max_concurrency": 20,
    }
    peaks = Peaks(home)

    async def look(client: Client, wait_seconds: float = 0) -> dict[str, JsonValue]:
        answer = await client.call_tool("get_run", {**run, "wait_seconds": wait_seconds, "limit": 1})
        return answer.structured_content or {}

    async def create(client: Client) -> None:
        await client.call_tool("create_dataset", {"name": DATASET, "items_file": str(items)})

    async def half(client: Client) -> None:
        await client.call_tool("run_experiment", {**scripts, "wait_seconds": 0})
        while int(str((await look(client)).get("succeeded") or 0)) < count / 2:  # noqa: ASYNC110 - of other processes
            await anyio.sleep(POLL_S)
        worker = peaks.worker()
        if worker is None:
            raise RuntimeError("the run has no worker")
        os.kill(worker, signal.SIGKILL)

    async def resume(client: Client) -> None:
        # What the killed worker had not sent is sent first.
        await look(client, TIMEOUT_S)
        begun = await client.call_tool("run_experiment", {**scripts, "resume": True, "wait_seconds": 0})
        ended = await look(client, TIMEOUT_S)
        if ended.get("status") != "completed":
            raise RuntimeError(f"the resumed run is not completed: {begun.structured_content}, {ended}")

    async def end(client: Client) -> None:
        # The first looks may only have read a part.
        while (await look(client)).get("succeeded") != count:
            pass

    try:
        await peaks.measure("created", create)
        await peaks.measure("half a run", half)
        await peaks.measure("resumed", resume)
        await peaks.measure("ended", end)
    finally:
        stop_store(Settings(home=home).store_folder)
    return peaks.found


async def memory(bench: Bench, count: int = 100_000) -> AsyncIterator[Row]:
    """Compare the peaks of `count` items with those of a tenth of them."""
    few, many = await peaks_of(bench, count // FACTOR), await peaks_of(bench, count)
    for (case, what), peak in many.items():
        ratio = peak / few[case, what] if few.get((case, what)) else 0.0
        if not ratio or (case == "created" and what == "worker"):
            continue
        yield Row(
            f"{case}: peak memory of the {what}, {count:,} items",
            f"{peak:.0f} MB",
            f"{count // FACTOR:,}: {few[case, what]:.0f} MB",
            f"{ratio:.2f}",
            f"<= {LIMIT}",
            ratio <= LIMIT,
        )
