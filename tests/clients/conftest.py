from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lfexp_mcp.clients.known import Machine

MakeMachine = Callable[..., Machine]
KEYS = {
    "LANGFUSE_HOST": "https://langfuse.example",
    "LANGFUSE_PUBLIC_KEY": "pk-lf-1f6d",
    "LANGFUSE_SECRET_KEY": "sk-lf-82c4",
}


@pytest.fixture
def make_machine(tmp_path: Path) -> MakeMachine:
    """Make a machine of any platform whose files are in this test's folder."""

    def make(platform: str = "linux", environment: Mapping[str, str] | None = None) -> Machine:
        return Machine(platform, tmp_path / "home", environment or {}, tmp_path / "project")

    return make


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    return make_machine()
