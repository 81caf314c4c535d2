"""Whatever fails when: every item, span and score is there once in the end, and nothing that succeeded ran again."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.faults.proxy import FaultProxy
from tests.faults.schedules import ITEMS, Schedule, Simulation
from tests.worker.scene import Scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot delete or cut files that a process has open"),
]

SEEDS = range(5)
"""`python -m tests.benchmarks schedules` plays a thousand."""


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, StoreConnection]]:
    folder = tmp_path_factory.mktemp("own") / "store"
    yield folder, ensure_store(folder)
    stop_store(folder)


@pytest.fixture
async def simulation(own_store: tuple[Path, StoreConnection], tmp_path: Path) -> AsyncIterator[Simulation]:
    folder, store = own_store
    settings = Settings(
        langfuse_public_key=store.public_key,
        langfuse_secret_key=SecretStr(store.secret_key),
        langfuse_url=store.base_url,
        home=tmp_path / "home",
        delivery_patience=3.0,
        visibility_delay=0.0,
    )
    with FaultProxy(store.base_url) as proxy:
        through = settings.model_copy(update={"langfuse_url": proxy.url})
        async with open_workspace(settings) as direct, open_workspace(through) as ws:
            scene = Scene(ws, tmp_path / "scripts")
            await scene.fill(ITEMS)
            yield Simulation(scene, direct, proxy, folder)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_drawn_schedule_of_faults_loses_and_doubles_nothing(simulation: Simulation, seed: int) -> None:
    await simulation.play(Schedule.draw(seed))
