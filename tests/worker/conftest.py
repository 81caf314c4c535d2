"""Runs in real worker processes on the real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.worker.scene import Scene


@pytest.fixture
def scene(workspace: Workspace, tmp_path: Path) -> Scene:
    """A dataset and scripts of the test's own."""
    return Scene(workspace, tmp_path / "scripts")


@pytest.fixture
async def elsewhere(settings: Settings, tmp_path: Path) -> AsyncIterator[Workspace]:
    """Another machine."""
    async with open_workspace(settings.model_copy(update={"home": tmp_path / "elsewhere"})) as workspace:
        yield workspace
