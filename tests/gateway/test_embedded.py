from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.gateway.connection import connect
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import stop_store

pytestmark = pytest.mark.anyio


@pytest.fixture
async def embedded(home: Path) -> AsyncIterator[Gateway]:
    settings = Settings(home=home)
    async with connect(settings) as gateway:
        yield gateway
    stop_store(settings.store_folder)


async def test_without_keys_the_embedded_store_serves_and_the_answer_says_how_to_change_that(
    embedded: Gateway,
) -> None:
    assert embedded.backend.kind == "embedded"
    assert "LANGFUSE_PUBLIC_KEY" in (embedded.backend.note or "")
    assert await embedded.experiment_url("x") is None


async def test_a_store_that_has_stopped_is_started_again_by_the_next_request(embedded: Gateway, home: Path) -> None:
    await embedded.upsert_dataset("kept")
    assert stop_store(home / "store")
    assert (await embedded.dataset("kept")).name == "kept"


async def test_a_store_that_comes_back_at_another_address_is_found(embedded: Gateway, home: Path) -> None:
    await embedded.upsert_dataset("kept")
    assert stop_store(home / "store")
    url = embedded.backend.url
    (home / "store" / "server.json").unlink(missing_ok=True)
    assert (await embedded.dataset("kept")).name == "kept"
    assert embedded.backend.url != url


async def test_an_answer_given_before_the_store_moved_stays_as_it_was(embedded: Gateway, home: Path) -> None:
    given = embedded.backend
    url = given.url
    assert stop_store(home / "store")
    (home / "store" / "server.json").unlink(missing_ok=True)
    await embedded.health()
    assert given.url == url
