from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.gateway import embedded as connections
from lfexp_mcp.gateway.embedded import ProvenTransport
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import ensure_store, stop_store
from tests.store.thief import thief_at

pytestmark = pytest.mark.anyio


@pytest.fixture
async def embedded(home: Path) -> AsyncIterator[Gateway]:
    settings = Settings(home=home)
    async with connect(settings) as gateway:
        yield gateway
    stop_store(settings.store_folder)


@pytest.mark.slow
async def test_without_keys_the_embedded_store_serves_and_the_answer_says_how_to_change_that(
    embedded: Gateway,
) -> None:
    assert embedded.backend.kind == "embedded"
    assert "LANGFUSE_PUBLIC_KEY" in " ".join(embedded.backend.notes)
    assert await embedded.experiment_url("x") is None


@pytest.mark.slow
async def test_a_store_that_has_stopped_is_started_again_by_the_next_request(embedded: Gateway, home: Path) -> None:
    await embedded.datasets.upsert("kept")
    assert stop_store(home / "store")
    assert (await embedded.datasets.get("kept")).name == "kept"


@pytest.mark.slow
async def test_a_store_that_comes_back_at_another_address_is_found(embedded: Gateway, home: Path) -> None:
    await embedded.datasets.upsert("kept")
    assert stop_store(home / "store")
    url = embedded.backend.url
    (home / "store" / "port").unlink()
    assert (await embedded.datasets.get("kept")).name == "kept"
    assert embedded.backend.url != url


@pytest.mark.slow
async def test_an_answer_given_before_the_store_moved_stays_as_it_was(embedded: Gateway, home: Path) -> None:
    given = embedded.backend
    url = given.url
    assert stop_store(home / "store")
    (home / "store" / "port").unlink()
    await embedded.health()
    assert given.url == url


@pytest.mark.slow
@pytest.mark.parametrize("relays", [False, True], ids=["invents a proof", "relays the challenge"])
async def test_whoever_takes_the_port_of_a_store_that_ended_gets_no_keys(
    embedded: Gateway, home: Path, relays: bool
) -> None:
    await embedded.datasets.upsert("before")
    folder, port = home / "store", int(embedded.backend.url.rpartition(":")[2])
    assert stop_store(folder)
    with thief_at(port) as thief:
        if relays:
            thief.relay_to = (await anyio.to_thread.run_sync(ensure_store, folder)).base_url
        assert (await embedded.datasets.get("before")).name == "before"
        await embedded.datasets.upsert("after")
        assert embedded.backend.url != f"http://127.0.0.1:{port}"
        assert thief.requests > 0
        assert not thief.heard(embedded.secret_key.get_secret_value(), embedded.public_key, "before", "after")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000, b"\xff\r\n\r\n"])
async def test_what_is_no_store_is_not_connected_to(answer: bytes) -> None:
    async def speak(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            with suppress(anyio.BrokenResourceError):
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, speak)
        async with httpx.AsyncClient(transport=ProvenTransport("sk", httpx.Limits()), auth=("pk", "sk")) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/api/public/health")
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_requests_go_on_while_all_connections_that_are_left_are_too_old_to_keep(
    embedded: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEPT_S", -1.0)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(embedded.health)
