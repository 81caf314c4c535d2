"""A workspace whose judges are asked on loopback."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.providers.server import ProviderServer


@pytest.fixture
async def judging(settings: Settings, openai_server: ProviderServer) -> AsyncIterator[Workspace]:
    """A workspace on the store, with a model on loopback."""
    keys = {"openai_api_key": SecretStr("sk-loopback"), "openai_base_url": openai_server.base_url}
    async with open_workspace(settings.model_copy(update=keys)) as opened:
        yield opened
