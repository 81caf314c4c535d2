"""Clients of the server: in memory, and as a process of its own over stdio."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp.types import CallToolResult, ElicitRequestFormParams, ElicitRequestParams, ElicitResult, ErrorData, TextContent
from pydantic import JsonValue

from lfexp_mcp.answers.base import ErrorAnswer, ToolAnswer
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection
from lfexp_mcp.tools import completion, tool
from lfexp_mcp.tools.registry import TOOLS
from lfexp_mcp.tools.server import build_server
from tests.advice import check_advice
from tests.tools.remote import Issuer, serving_issuer
from tests.waiting import PATIENCE_S

SPECIFICATION = Path(__file__).parent / "specification"

WriteScript = Callable[[str, str], Path]


UserAnswer = ElicitResult | ErrorData | Callable[[], Awaitable[ElicitResult]]
YES = ElicitResult(action="accept", content={"confirm": True})


class User:
    """Answers questions, and keeps them."""

    def __init__(self, *answers: UserAnswer) -> None:
        self.answers = [*answers]
        self.asked: list[str] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        assert isinstance(params, ElicitRequestFormParams)
        assert "default" not in str(params.requested_schema)
        self.asked.append(params.message)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, ElicitResult | ErrorData) else await answer()


class Caller:
    """Calls tools and says what came back."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.progress: list[tuple[float, float | None, str | None]] = []
        self.has_progress = anyio.Event()

    async def result(self, tool: str, **arguments: JsonValue) -> CallToolResult:
        return await self.client.call_tool(tool, arguments, progress_callback=self._note)

    async def answer(self, tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
        """Call a tool that works, and return its structured content, which is a whole answer of the tool's model."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        assert isinstance(result.structured_content, dict)
        await self.client.session.validate_tool_result(tool, result)
        model = next(definition.answer for definition in TOOLS if definition.name == tool)
        answer = model.model_validate(result.structured_content)
        assert answer.model_dump(mode="json") == result.structured_content
        if isinstance(answer, ToolAnswer):
            check_advice(answer)
        return result.structured_content

    async def refusal(self, tool: str, **arguments: JsonValue) -> ErrorAnswer:
        """Call a tool that refuses, and return its structured content, which matches the tool's output schema."""
        result = await self.result(tool, **arguments)
        assert result.is_error, text_of(result)
        await self.client.session.validate_tool_result(tool, result)
        refusal = ErrorAnswer.model_validate(result.structured_content)
        assert all(step.tool in text_of(result) for step in refusal.next)
        return refusal

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
def issuer() -> Iterator[Issuer]:
    """An authorization server on loopback."""
    with serving_issuer() as served:
        yield served


@pytest.fixture
def specified(tmp_path: Path) -> Callable[[str], Path]:
    """Copy one of the specification's scripts, as printed there."""

    def copy(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes((SPECIFICATION / f"{name}.txt").read_bytes())
        return path

    return copy


@pytest.fixture
async def silent_langfuse(settings: Settings) -> AsyncIterator[Settings]:
    """Settings of a server that takes requests and never answers one."""

    async def take(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, take)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield settings.model_copy(update={"langfuse_url": f"http://127.0.0.1:{port}"})
        tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True, scope="session")
def _calls_that_may_take_long() -> Iterator[None]:
    """A call to a server in this process has as long as it needs, also on a machine that is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "MIN_LIMIT_S", PATIENCE_S)
        patch.setattr(completion, "LIMIT_S", PATIENCE_S)
        yield
