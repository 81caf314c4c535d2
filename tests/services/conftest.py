"""Fixtures of the reading side."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store


@pytest.fixture
def quiet_store(tmp_path: Path) -> Iterator[StoreConnection]:
    """A store of the test's own, without the traces of others."""
    folder = tmp_path / "store"
    yield ensure_store(folder)
    stop_store(folder)


@pytest.fixture
async def quiet(quiet_store: StoreConnection, tmp_path: Path) -> AsyncIterator[Workspace]:
    """A workspace on that store."""
    settings = Settings(
        langfuse_public_key=quiet_store.public_key,
        langfuse_secret_key=SecretStr(quiet_store.secret_key),
        langfuse_url=quiet_store.base_url,
        home=tmp_path / "home",
    )
    async with open_workspace(settings) as opened:
        yield opened
