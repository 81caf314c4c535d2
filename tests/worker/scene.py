"""A dataset, scripts and runs for one test; names are its own, since tests share a store."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
from pydantic import JsonValue

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.model import RunRecord
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings, load_settings
from tests.advice import check_advice
from tests.runs.records import read_record
from tests.waiting import PATIENCE_S, until


@dataclass
class Scene:
    """What a test of runs works with."""

    ws: Workspace
    folder: Path
    dataset: str = field(default_factory=lambda: f"dataset-{uuid.uuid4().hex[:12]}")
    run_name: str = "run"

    async def fill(self, count: int, **fields: JsonValue) -> None:
        """Make the dataset: inputs `input 0`, `input 1`, ..., and the same in capitals expected."""
        await self.ws.gateway.datasets.upsert(self.dataset)
        limiter = anyio.CapacityLimiter(8)

        async def add(number: int) -> None:
            async with limiter:
                values: dict[str, Any] = {
                    "input": f"input {number}",
                    "expected_output": f"INPUT {number}",
                    "metadata": {"number": number},
                }
                await self.ws.gateway.dataset_items.upsert(self.dataset, id=self.item_id(number), **(values | fields))

        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(add, number)

    def item_id(self, number: int) -> str:
        """The id of an item by its number."""
        return f"{self.dataset}-{number}"

    def script(self, source: str, name: str = "task.py") -> Path:
        """Write a script."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_text(dedent(source), encoding="utf-8")
        return path

    def request(self, task_script: Path | None, **arguments: Any) -> RunRequest:  # noqa: ANN401
        """A request for the dataset; any of its arguments can be given."""
        given = {"dataset": self.dataset, "run_name": self.run_name, "task_script": task_script} | arguments
        return RunRequest.model_validate(given)

    async def run(
        self,
        task_script: Path | None,
        *,
        wait_seconds: float = PATIENCE_S,
        on_progress: OnProgress | None = None,
        **arguments: Any,  # noqa: ANN401
    ) -> RunAnswer:
        """Run a script over the dataset."""
        answer = await run_experiment(
            self.ws, self.request(task_script, **arguments), wait_seconds=wait_seconds, on_progress=on_progress
        )
        check_advice(answer)
        return answer

    async def begin(self, task_script: Path | None, **arguments: Any) -> RunFolder:  # noqa: ANN401
        """Begin a run, and return its folder when a worker has taken it, however long the machine takes."""
        await self.run(task_script, wait_seconds=0, **arguments)
        await until(lambda: self.ws.launches.find(self.dataset, self.run_name) is None)
        return await self.run_folder()

    async def run_folder(self) -> RunFolder:
        """The run's folder."""
        dataset = await self.ws.gateway.datasets.get(self.dataset)
        return self.ws.runs.folder(await self.ws.gateway.experiments.id_of(dataset.id, self.run_name))

    async def record(self) -> RunRecord:
        """The run as this machine's journal tells it."""
        return read_record(await self.run_folder())


def with_keys(settings: Settings) -> Settings:
    """The settings, with the provider that the fixture `openai_for_workers` has put into the environment."""
    found = load_settings()
    return settings.model_copy(
        update={"openai_api_key": found.openai_api_key, "openai_base_url": found.openai_base_url}
    )


@asynccontextmanager
async def with_models(scene: Scene, settings: Settings) -> AsyncIterator[Scene]:
    """The scene in a workspace that can ask models, see `with_keys`."""
    async with open_workspace(with_keys(settings)) as ws:
        yield replace(scene, ws=ws)
