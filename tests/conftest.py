"""What tests of every part share: a home of their own, a real store in a process of its own, a workspace on it."""

import functools
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from lfexp_mcp.runs import process
from lfexp_mcp.services.experiments import run_experiment
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.prepared_workers import CAN_FORK, PreparedWorkers
from tests.services.humans import Humans
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene

pytest_plugins = ["tests.providers.fixtures"]

# Each test process imports all tests, which takes twice as long where they have to be compiled.
sys.dont_write_bytecode = False

# No test depends on how fast the machine is.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector: all that is made stays to the end, and is never worth a look."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as there are cores, and one more for slow tests, which wait for workers about a third of their time."""
    return (os.cpu_count() or 1) + int(config.option.markexpr != "not slow")


FOREIGN = ("LANGFUSE_", "OPENAI_", "ANTHROPIC_", "LFEXP_", "OTEL_", "PYTHONDONTWRITEBYTECODE")


@pytest.fixture(autouse=True, scope="session")
def _without_the_developers_environment() -> Iterator[None]:
    """Tests see no keys and settings of whoever runs them; those of a contract test's target stay.

    Servers and workers that they start cache their bytecode, or each would compile the package again.
    """
    removed = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(FOREIGN) and not name.startswith("LFEXP_TEST_")
    }
    yield
    os.environ.update(removed)


@pytest.fixture(autouse=True, scope="session")
def workers(_without_the_developers_environment: None) -> Iterator[PreparedWorkers | None]:
    """Runs that a test process starts itself have their workers forked, where that can be."""
    if not CAN_FORK:
        yield None
        return
    prepared = PreparedWorkers()
    forking = ModuleType("subprocess")
    forking.__dict__.update(subprocess.__dict__, Popen=prepared.start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", forking)
        yield prepared
    prepared.close()


@pytest.fixture(autouse=True, scope="session")
def _certificates_that_are_loaded_once() -> Iterator[None]:
    """Clients of HTTP share the certificates that they trust; loading them takes as long as many a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(httpx._transports.default), "create_ssl_context", functools.cache(httpx.create_ssl_context))
        yield


@pytest.fixture(autouse=True, scope="session")
def _runs_that_may_start_slowly() -> Iterator[None]:
    """A call that does not wait for its run returns when the run has begun, also on a machine that is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_experiment, "START_GRACE_S", PATIENCE_S)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder for one test: its own runs, and its own embedded store should it start one."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, workers: PreparedWorkers | None
) -> Iterator[StoreConnection]:
    """The embedded store in a process of its own, one per test worker; tests keep apart by the names they use."""
    # Runs are started by slow tests. The few others wait for this with their first.
    if workers is not None and any(item.get_closest_marker("slow") for item in request.session.items):
        workers.prepare()
    folder = tmp_path_factory.mktemp("store")
    yield ensure_store(folder)
    stop_store(folder)


@pytest.fixture
def settings(home: Path, store: StoreConnection) -> Settings:
    """Settings that reach the store by its keys, as those of a self-hosted Langfuse would."""
    return Settings(
        langfuse_public_key=store.public_key,
        langfuse_secret_key=SecretStr(store.secret_key),
        langfuse_url=store.base_url,
        home=home,
        visibility_delay=0.0,
    )


@pytest.fixture
async def workspace(settings: Settings) -> AsyncIterator[Workspace]:
    """A workspace on the store."""
    async with open_workspace(settings) as opened:
        yield opened


@pytest.fixture
def scene(workspace: Workspace, tmp_path: Path) -> Scene:
    """A dataset and scripts of the test's own."""
    return Scene(workspace, tmp_path / "scripts")


@pytest.fixture
async def elsewhere(settings: Settings, tmp_path: Path) -> AsyncIterator[Workspace]:
    """A workspace on another machine, which has no folder of the runs."""
    async with open_workspace(settings.model_copy(update={"home": tmp_path / "elsewhere"})) as opened:
        yield opened


@pytest.fixture
def humans(settings: Settings) -> Iterator[Humans]:
    """People who annotate on the store."""
    people = Humans(settings)
    yield people
    people.close()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a store of the test's own, where `all prompts` means its own alone."""
    connection = ensure_store(tmp_path / "store")
    yield Settings(
        langfuse_public_key=connection.public_key,
        langfuse_secret_key=SecretStr(connection.secret_key),
        langfuse_url=connection.base_url,
        openai_api_key=SecretStr("sk-secret-key"),
        home=tmp_path / "home",
    )
    stop_store(tmp_path / "store")
