"""Calls that begin runs as tasks, for clients that declare the extension for them.

https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md, of protocol 2026-07-28. A task
is a view of the runs that a call has begun, by a handle (`services.handles`): it outlives this process, and it is
found by every server that has the same home. Its states are those of the runs; only the answer after their end is kept.
Not for the experimental tasks of 2025-11-25, whose results the SDK sends to no client.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio.to_thread
from mcp.server.context import HandlerResult
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.types import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, RequestParams, Result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import JsonValue

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.comparison import ConfirmAnswer
from lfexp_mcp.answers.run import RunAnswer, SweepAnswer
from lfexp_mcp.errors import LfexpError, NotFoundError
from lfexp_mcp.model import ToolName
from lfexp_mcp.reports.untrusted import one_line
from lfexp_mcp.tools.callers import principal_of
from lfexp_mcp.tools.questions import notices
from lfexp_mcp.tools.results import answer_result, error_result, error_text
from lfexp_mcp.tools.state import RequestContext, ToolContext, workspace_for, workspace_of

if TYPE_CHECKING:
    from lfexp_mcp.services.handles import Handle
    from lfexp_mcp.services.workspace import Workspace

EXTENSION = "io.modelcontextprotocol/tasks"
POLL_INTERVAL_MS = 2_000
TASK_TOOLS: tuple[ToolName, ...] = ("run_experiment", "score_run", "confirm_run")

TaskStatus = Literal["working", "completed", "cancelled"]


class McpTask(Result):
    """A task: in place of a tool's result (`resultType` is `task` then), or as `tasks/get` shows it."""

    result_type: Literal["task", "complete"] = "complete"
    task_id: str
    status: TaskStatus
    status_message: str | None = None
    created_at: datetime
    last_updated_at: datetime
    ttl_ms: int
    poll_interval_ms: int = POLL_INTERVAL_MS
    result: dict[str, Any] | None = None
    """The tool's result, of a completed task."""


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str


class TaskInputParams(TaskParams):
    """Answers what a task asks; none of ours does, since questions come before the task."""

    input_responses: dict[str, Any]


class Tasks(Extension):
    """Serves tasks."""

    identifier = EXTENSION

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods by which clients follow tasks."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return (
            MethodBinding("tasks/get", TaskParams, _get, versions),
            MethodBinding("tasks/update", TaskInputParams, _update, versions),
            MethodBinding("tasks/cancel", TaskParams, _cancel, versions),
        )


def wants_task(ctx: ToolContext, tool: str, arguments: Mapping[str, object]) -> bool:
    """Tell whether a call may be answered by a task: of such a tool, by a client that declares tasks with this call."""
    capabilities = ctx.client_capabilities
    declared = capabilities.extensions if capabilities else None
    is_modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
    return tool in TASK_TOOLS and is_modern and EXTENSION in (declared or ()) and not arguments.get("dry_run")


async def create_task(
    ctx: ToolContext, tool: str, arguments: Mapping[str, JsonValue], answer: Answer
) -> McpTask | None:
    """Make a task of a call whose run goes on; None if the run has ended, or has not begun in time.

    Raises:
        LfexpError: The run could not be launched.
    """
    from lfexp_mcp.services.handles import HandledTool, create_handle

    if not isinstance(answer, RunAnswer | ConfirmAnswer) or answer.status != "running":
        return None
    if isinstance(answer, ConfirmAnswer):
        dataset, run_name = str(arguments["dataset"]), f"confirm-{arguments['run_name']}"
    else:
        dataset, run_name = answer.dataset, answer.run_name
    variants = [*answer.variants] if isinstance(answer, SweepAnswer) else []
    ws, owner, said = await workspace_of(ctx), _owner(ctx.request_context), notices()
    handle = await create_handle(
        ws, owner, cast("HandledTool", tool), _given(arguments), dataset, run_name, variants, said
    )
    return None if handle is None else _task(ws, handle, " ".join([*said, "It runs."]), "task")


async def find_run_task(ctx: ToolContext, arguments: Mapping[str, JsonValue]) -> McpTask | None:
    """Return the task that an equal `run_experiment` of this caller has begun, if it runs the code of now."""
    from lfexp_mcp.services.handles import find_equal_run

    ws, owner = await workspace_of(ctx), _owner(ctx.request_context)
    handle = await anyio.to_thread.run_sync(find_equal_run, ws, owner, _given(arguments))
    return None if handle is None else _task(ws, handle, "It runs: an equal call has begun it.", "task")


def _given(arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Leave out how long the call was to wait, which a task does not."""
    return {name: value for name, value in arguments.items() if name != "wait_seconds"}


async def _get(ctx: RequestContext, params: TaskParams) -> HandlerResult:
    from lfexp_mcp.services.handles import follow_handle

    async with _found(ctx, params) as (ws, handle):
        handle, progress = await follow_handle(ws, handle, _rendered)
        return _task(ws, handle, progress)


async def _update(ctx: RequestContext, params: TaskInputParams) -> HandlerResult:
    async with _found(ctx, params):
        return {}


async def _cancel(ctx: RequestContext, params: TaskParams) -> HandlerResult:
    from lfexp_mcp.services.handles import cancel_handle

    async with _found(ctx, params) as (ws, handle):
        await cancel_handle(ws, handle)
        return {}


@asynccontextmanager
async def _found(ctx: RequestContext, params: TaskParams) -> "AsyncIterator[tuple[Workspace, Handle]]":
    """Find the task of a request; what fails becomes an error of the protocol."""
    from lfexp_mcp.services.handles import find_handle

    require_client_extension(ctx, EXTENSION)
    named = ctx.request.headers.get("mcp-name") if ctx.request is not None else None
    if named is not None and named != params.task_id:
        raise MCPError(code=HEADER_MISMATCH, message="The Mcp-Name header names another task than the request.")
    try:
        ws = await workspace_for(ctx)
        yield ws, find_handle(ws, params.task_id, _owner(ctx))
    except NotFoundError as error:
        raise MCPError(code=INVALID_PARAMS, message=str(error)) from error
    except LfexpError as error:
        raise MCPError(code=INTERNAL_ERROR, message=error_text(error)) from error


def _owner(ctx: RequestContext) -> str | None:
    principal = principal_of(ctx)
    return None if principal is None else hashlib.sha256(principal.encode()).hexdigest()


def _task(
    ws: "Workspace", handle: "Handle", progress: str | None, result_type: Literal["task", "complete"] = "complete"
) -> McpTask:
    from lfexp_mcp.services.handles import LIFETIME, last_change

    end = handle.end
    status: TaskStatus = "working" if end is None else "cancelled" if end.status == "cancelled" else "completed"
    message = progress if end is None else f"get_run reads run {handle.run_name!r}." if status == "cancelled" else None
    return McpTask(
        result_type=result_type,
        task_id=handle.id,
        status=status,
        status_message=None if message is None else one_line(message),
        created_at=handle.created,
        last_updated_at=last_change(ws, handle),
        ttl_ms=round(LIFETIME.total_seconds() * 1000),
        result=end.result if end is not None and status == "completed" else None,
    )


def _rendered(answer: Answer | LfexpError) -> dict[str, JsonValue]:
    result = error_result(answer) if isinstance(answer, LfexpError) else answer_result(answer)
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)
