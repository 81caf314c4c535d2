from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.retries import RetryPolicy
from lfexp_mcp.settings import Settings
from tests.gateway.scripted_server import ScriptedServer, scripted_server

QUICK = RetryPolicy(attempts=4, connect_attempts=2, first_delay_s=0.001, throttled_patience_s=5)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script


@pytest.fixture
async def gateway(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = Settings(
        langfuse_public_key="pk-lf-test",
        langfuse_secret_key=SecretStr("sk-lf-very-secret"),
        langfuse_url=server.url,
        home=tmp_path,
    )
    async with connect(settings, QUICK) as opened:
        yield opened
