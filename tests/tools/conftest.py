"""Clients of the server: in memory, and as a process of its own over stdio."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent
from pydantic import JsonValue

from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection
from lfexp_mcp.tools.server import build_server

SPECIFICATION = Path(__file__).parent / "specification"

WriteScript = Callable[[str, str], Path]


class Caller:
    """Calls tools and says what came back."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.progress: list[tuple[float, float | None, str | None]] = []
        self.has_progress = anyio.Event()

    async def result(self, tool: str, **arguments: JsonValue) -> CallToolResult:
        return await self.client.call_tool(tool, arguments, progress_callback=self._note)

    async def answer(self, tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
        """Call a tool that works, and return its structured content."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    async def refusal(self, tool: str, **arguments: JsonValue) -> str:
        """Call a tool that refuses, and return what it says."""
        return text_of(await self.error(tool, **arguments))

    async def error(self, tool: str, **arguments: JsonValue) -> CallToolResult:
        """Call a tool that refuses, and return its result, which matches the tool's output schema as answers do."""
        result = await self.result(tool, **arguments)
        assert result.is_error, text_of(result)
        assert isinstance(result.structured_content, dict)
        assert set(result.structured_content) == {"error", "next"}
        await self.client.session.validate_tool_result(tool, result)
        return result

    async def _note(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total, message))
        self.has_progress.set()


def text_of(result: CallToolResult) -> str:
    """Return the text part of a result."""
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


def stdio_server(home: Path, store: StoreConnection | None, **variables: str) -> StdioServerParameters:
    """Return how to start the server as a client's configuration would: by this interpreter, with an environment."""
    keys = (
        {
            "LANGFUSE_PUBLIC_KEY": store.public_key,
            "LANGFUSE_SECRET_KEY": store.secret_key,
            "LANGFUSE_HOST": store.base_url,
        }
        if store
        else {}
    )
    environment = {**os.environ, "LFEXP_HOME": str(home), **keys, **variables}
    return StdioServerParameters(command=sys.executable, args=["-m", "lfexp_mcp"], env=environment)


@pytest.fixture(params=["auto", "legacy"])
async def caller(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Caller]:
    """A client in this process, of the newest and of the oldest protocol."""
    mode: Literal["auto", "legacy"] = request.param
    async with Client(build_server(settings), mode=mode) as client:
        yield Caller(client)


@pytest.fixture
async def stdio(home: Path, store: StoreConnection) -> AsyncIterator[Caller]:
    """A client of a server process of its own."""
    async with Client(stdio_server(home, store)) as client:
        yield Caller(client)


@pytest.fixture
def write_script(tmp_path: Path) -> WriteScript:
    """Write a script under a name."""

    def write(name: str, source: str) -> Path:
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return path

    return write


@pytest.fixture
def specified(tmp_path: Path) -> Callable[[str], Path]:
    """Copy one of the specification's scripts, as printed there."""

    def copy(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes((SPECIFICATION / f"{name}.txt").read_bytes())
        return path

    return copy
