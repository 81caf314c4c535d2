"""Runs in real worker processes on the real store."""

from pathlib import Path

import pytest

from lfexp_mcp.services.workspace import Workspace
from tests.worker.scene import Scene


@pytest.fixture
def scene(workspace: Workspace, tmp_path: Path) -> Scene:
    """A dataset and scripts of the test's own."""
    return Scene(workspace, tmp_path / "scripts")
