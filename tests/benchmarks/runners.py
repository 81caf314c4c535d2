"""What the benchmarks run on: a store of their own, datasets, and runs in processes of their own."""

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from pydantic import SecretStr

from lfexp_mcp.gateway import Gateway, ItemFields
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store


@dataclass(frozen=True)
class Figures:
    """What one run took."""

    seconds: float
    """From the call to the answer."""
    execution: float
    """From the first item's start to the last one's end; of the SDK's, without reading the dataset."""
    experiment_id: str
    status: str
    cpu: float
    """Seconds of the process that ran the items; of ours, its start included."""
    memory: float
    """Its peak, MB."""
    tasks: float = 0.0
    """Of ours: from the begin of the first call of the task to the end of the last one."""
    first: float = 0.0
    """Of ours: from the call to the begin of the first call of the task."""


@dataclass(frozen=True)
class Bench:
    """A store, and a folder for scripts."""

    ws: Workspace
    store: StoreConnection
    folder: Path

    @property
    def gateway(self) -> Gateway:
        """The way to the store itself."""
        return self.ws.gateway

    def script(self, name: str, source: str) -> Path:
        """Write a script, in a folder that holds nothing else: a cluster gets it whole."""
        path = self.folder / "scripts" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return path

    async def dataset(self, count: int) -> str:
        """Make a dataset of so many items, unless there is one."""
        name = f"items-{count}"
        known = {dataset.name for dataset in await self.gateway.datasets.all()}
        if name in known:
            return name
        await self.gateway.datasets.upsert(name)

        async def stored(_item: ItemFields, _found: DatasetItem) -> None:
            """Nobody is told."""

        items = (ItemFields(id=f"{name}-{number}", input=f"input {number}") for number in range(count))
        await self.gateway.dataset_items.upsert_all(name, items, stored)
        return name

    async def run(
        self,
        runner: str,
        dataset: str,
        task: Path,
        evaluators: Path | None = None,
        *,
        max_concurrency: int = 20,
        spares: bool = True,
        calls: int = 1,
        variants: int = 0,
        url: str | None = None,
        ray: dict[str, Any] | None = None,
    ) -> Figures:
        """Run a dataset.

        Args:
            runner: `our_run` or `sdk_run`.
            dataset: Its name.
            task: The task script.
            evaluators: The evaluator script.
            max_concurrency: Items at work at once.
            spares: Whether ours has spare workers at hand.
            calls: Of so many in a row, the last one of ours is measured.
            variants: How many variants ours has side by side; 0 for a single run.
            url: Where the run finds the store, unless directly.
            ray: Engine options of ours on a Ray cluster; None for this machine.
        """
        order: dict[str, Any] = {
            "dataset": dataset,
            "run_name": f"{runner}-{uuid.uuid4().hex[:8]}",
            "task": str(task),
            "evaluators": str(evaluators) if evaluators else None,
            "max_concurrency": max_concurrency,
            "spares": spares,
            "calls": calls,
            "variants": variants,
            "ray": ray,
        }
        return Figures(**await self.in_process(runner, json.dumps(order), url=url))

    async def in_process(self, module: str, *arguments: str, url: str | None = None) -> dict[str, Any]:
        """Measure in a process of its own, by a module of the benchmarks that prints its figures as JSON."""
        environment = {
            **os.environ,
            "LANGFUSE_PUBLIC_KEY": self.store.public_key,
            "LANGFUSE_SECRET_KEY": self.store.secret_key,
            "LANGFUSE_HOST": url or self.store.base_url,
            "LFEXP_HOME": str(self.folder / "home"),
        }
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
        done = await anyio.run_process(command, env=environment, check=False)
        if done.returncode:
            # Of a run that went well, the SDK's own complaints about its losses are left out: the table counts those.
            raise RuntimeError(f"{module} ended with code {done.returncode}:\n{done.stderr.decode()[-2000:]}")
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


@asynccontextmanager
async def open_bench() -> AsyncIterator[Bench]:
    """Start a store for the benchmarks; it goes with its folder in the end."""
    # Installed packages bring their bytecode; without a cache, each process would compile the checkout anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = ensure_store(folder / "store")
        settings = Settings(
            langfuse_public_key=store.public_key,
            langfuse_secret_key=SecretStr(store.secret_key),
            langfuse_url=store.base_url,
            home=folder / "home",
        )
        try:
            async with open_workspace(settings) as ws:
                yield Bench(ws, store, folder)
        finally:
            stop_store(folder / "store")
