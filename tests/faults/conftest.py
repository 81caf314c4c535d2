"""Runs whose way to the store goes wrong; the store itself is asked directly."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection
from tests.faults.proxy import FaultProxy
from tests.worker.scene import Scene


@pytest.fixture
def proxy(store: StoreConnection) -> Iterator[FaultProxy]:
    """A proxy in front of the store."""
    with FaultProxy(store.base_url) as running:
        yield running


@pytest.fixture
async def scene(settings: Settings, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Scene]:
    """A dataset and scripts; its runs reach the store through the proxy."""
    through = settings.model_copy(update={"langfuse_url": proxy.url, "delivery_patience": 120.0, "cancel_grace": 2.0})
    async with open_workspace(through) as opened:
        yield Scene(opened, tmp_path / "scripts")


@pytest.fixture
def direct(workspace: Workspace) -> Workspace:
    """A workspace that reaches the store itself."""
    return workspace
