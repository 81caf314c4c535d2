import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfexp_mcp.answers.clients import Check
from lfexp_mcp.services.doctor import diagnose
from lfexp_mcp.settings import Settings
from tests.faults.small_disk import TmpfsDisk
from tests.judges.asking import SECRETS
from tests.providers.server import Kind, ProviderServer

pytestmark = pytest.mark.anyio

TITLES: dict[Kind, str] = {"openai": "OpenAI", "anthropic": "Anthropic"}


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> ProviderServer:
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, ProviderServer)
    return found


async def check_of(settings: Settings, kind: Kind, base_url: str | None) -> Check:
    changes = {f"{kind}_api_key": SecretStr(SECRETS[kind]), f"{kind}_base_url": base_url}
    diagnosis = await diagnose(settings.model_copy(update=changes))
    [check] = [check for check in diagnosis.checks if check.name == f"judges on {TITLES[kind]}"]
    return check


@pytest.mark.slow
async def test_a_key_that_the_provider_takes_is_found_good(settings: Settings, server: ProviderServer) -> None:
    check = await check_of(settings, server.kind, server.base_url)
    assert (check.status, check.advice) == ("ok", None)
    assert f"{server.kind.upper()}_API_KEY" in check.found


async def test_a_key_that_the_provider_refuses_is_broken(settings: Settings, server: ProviderServer) -> None:
    server.takes_the_key = False
    check = await check_of(settings, server.kind, server.base_url)
    assert check.status == "broken"
    assert f"{server.kind.upper()}_API_KEY" in check.found
    assert SECRETS[server.kind] not in check.model_dump_json()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_provider_that_is_not_there_leaves_the_key_unchecked(settings: Settings, kind: Kind) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        check = await check_of(settings, kind, f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert check.status == "warning"
    assert "127.0.0.1" in check.found


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_base_url_that_is_no_address_is_named(settings: Settings, kind: Kind) -> None:
    check = await check_of(settings, kind, "http://me:hunter2@[::1")
    assert check.status == "broken"
    assert f"{kind.upper()}_BASE_URL" in (check.advice or "")
    assert "hunter2" not in check.model_dump_json()


async def test_an_address_of_langfuse_that_is_none_is_a_finding_like_others(settings: Settings) -> None:
    diagnosis = await diagnose(settings.model_copy(update={"langfuse_url": "http://localhost:abc"}))
    [server] = [check for check in diagnosis.checks if check.name == "Langfuse server"]
    assert server.status == "broken"
    assert "LANGFUSE_HOST" in (server.advice or "")


@pytest.mark.skipif(not TmpfsDisk.is_possible(), reason="Only root on Linux can mount a disk of a given size")
async def test_a_disk_with_little_room_is_told(settings: Settings, tmp_path: Path) -> None:
    with TmpfsDisk(tmp_path / "disk", size_bytes=4_000_000) as disk:
        diagnosis = await diagnose(settings.model_copy(update={"home": disk.path / "home"}))
    [check] = [check for check in diagnosis.checks if check.name == "home folder"]
    assert (check.status, diagnosis.healthy) == ("broken", False)
    assert "4 MB" in check.found
