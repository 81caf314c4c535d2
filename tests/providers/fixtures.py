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
def anthropic_server() -> Iterator[ProviderServer]:
    """A server that speaks Anthropic's messages; its `base_url` goes into ANTHROPIC_BASE_URL."""
    with serve("anthropic") as server:
        yield server
