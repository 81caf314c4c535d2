"""What the tests of the catalog share."""

from collections.abc import AsyncIterator

import pytest

from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings


@pytest.fixture
async def alone(own_store: Settings) -> AsyncIterator[Workspace]:
    """A workspace on a store of the test's own."""
    async with open_workspace(own_store) as opened:
        yield opened
