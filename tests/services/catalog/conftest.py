"""What the tests of the catalog share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.worker.scene import Scene


@pytest.fixture
def scene(workspace: Workspace, tmp_path: Path) -> Scene:
    """A dataset of the test's own."""
    return Scene(workspace, tmp_path / "scripts")


@pytest.fixture
async def alone(own_store: Settings) -> AsyncIterator[Workspace]:
    """A workspace on a store of the test's own."""
    async with open_workspace(own_store) as opened:
        yield opened
