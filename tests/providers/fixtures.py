"""Loopback servers that speak the providers' HTTP, as fixtures."""

from collections.abc import Iterator

import pytest

from tests.providers.server import ProviderServer, serve


@pytest.fixture
def openai_server() -> Iterator[ProviderServer]:
    """A server that speaks OpenAI's chat completions; its `base_url` goes into OPENAI_BASE_URL."""
    with serve("openai") as server:
        yield server


@pytest.fixture
def openai_for_workers(openai_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> ProviderServer:
    """The same server, which workers ask as well: they inherit its key and address from the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    return openai_server


@pytest.fixture
def anthropic_server() -> Iterator[ProviderServer]:
    """A server that speaks Anthropic's messages; its `base_url` goes into ANTHROPIC_BASE_URL."""
    with serve("anthropic") as server:
        yield server
