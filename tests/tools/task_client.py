"""A client that declares the extension for tasks, and follows them by hand."""

from typing import Any, Literal

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.types import CallToolResult, Request, Result
from pydantic import ConfigDict, JsonValue

from lfexp_mcp.answers.base import ErrorAnswer
from lfexp_mcp.tools.tasks import EXTENSION, TaskParams
from tests.tools.conftest import text_of
from tests.waiting import PATIENCE_S


class TaskHandle(Result):
    model_config = ConfigDict(extra="allow")

    result_type: Literal["task"] = "task"


class Reply(Result):
    """Any result, as it was sent."""

    model_config = ConfigDict(extra="allow")


class _Params(TaskParams):
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[_Params, str]):
    name_param = "taskId"


class DeclaredTasks(ClientExtension):
    """Declares tasks; they are followed by hand."""

    identifier = EXTENSION

    def claims(self) -> tuple[ResultClaim[Any], ...]:
        return (ResultClaim(result_type="task", model=TaskHandle, resolve=_unused),)


async def _unused(task: TaskHandle, _: ClaimContext) -> CallToolResult:
    raise AssertionError(task)


class TaskClient:
    """A client that declares tasks."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: JsonValue) -> dict[str, Any]:
        result = await self.client.session.call_tool(tool, arguments, allow_claimed=True)
        if isinstance(result, TaskHandle):
            return dict(result.model_extra or {})
        assert isinstance(result, CallToolResult)
        assert not result.is_error, text_of(result)
        return dict(result.structured_content or {})

    async def refusal(self, tool: str, **arguments: JsonValue) -> ErrorAnswer:
        result = await self.client.session.call_tool(tool, arguments, allow_claimed=True)
        assert isinstance(result, CallToolResult), result
        return ErrorAnswer.model_validate(result.structured_content)

    async def send(self, method: str, task_id: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        params = _Params(task_id=task_id, **more)
        reply = await self.client.session.send_request(TaskRequest(method=method, params=params), Reply)
        return dict(reply.model_extra or {})

    async def ended(self, task_id: str) -> dict[str, Any]:
        """Poll until the task has ended."""
        with anyio.fail_after(PATIENCE_S):
            while (task := await self.send("tasks/get", task_id))["status"] == "working":
                assert "result" not in task
                await anyio.sleep(0.02)
        return task

    async def refused(self, method: str, task_id: str, **more: Any) -> MCPError:  # noqa: ANN401
        with pytest.raises(MCPError) as raised:
            await self.send(method, task_id, **more)
        return raised.value
