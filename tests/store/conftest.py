"""Stores for the tests of the store: each a real process on a folder of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.waiting import PATIENCE_S


def client_of(connection: StoreConnection) -> httpx.Client:
    """A client that has the store's keys."""
    keys = (connection.public_key, connection.secret_key)
    return httpx.Client(base_url=connection.base_url, auth=keys, timeout=PATIENCE_S, trust_env=False)


@pytest.fixture
def client(store: StoreConnection) -> Iterator[httpx.Client]:
    """A client of the store that all tests of a worker share."""
    with client_of(store) as opened:
        yield opened


@pytest.fixture
def start_store(tmp_path: Path) -> Iterator[Callable[[str], StoreConnection]]:
    """Start the store of a folder, by its name; it is stopped at the end."""
    folders: list[Path] = []

    def start(name: str = "store") -> StoreConnection:
        folders.append(tmp_path / name)
        return ensure_store(folders[-1])

    yield start
    for folder in folders:
        stop_store(folder)
