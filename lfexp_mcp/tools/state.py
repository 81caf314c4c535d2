"""State of a server process: its workspace, opened by the first call that needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.mcpserver import Context

if TYPE_CHECKING:
    from lfexp_mcp.services.workspace import Workspace
    from lfexp_mcp.settings import Settings


class ServerState:
    """The state of one server.

    The workspace is held by a task of its own, since it must be closed by the task that opened it, and a tool call's
    task ends with the call.
    """

    def __init__(self, settings: Settings | None, tasks: TaskGroup) -> None:
        self._settings = settings
        self._tasks = tasks
        self._opening = anyio.Lock()
        self._closing = anyio.Event()
        self._workspace: Workspace | None = None

    async def workspace(self) -> Workspace:
        """Return the workspace, opening it on the first call.

        Raises:
            LfexpError: The environment, the store or the runs' folder cannot be used.
        """
        async with self._opening:
            if self._workspace is None:
                self._workspace = await self._tasks.start(self._hold_workspace)
            return self._workspace

    def close(self) -> None:
        """Let the workspace close; the task group of the server waits for it."""
        self._closing.set()

    async def _hold_workspace(self, *, task_status: TaskStatus[Workspace]) -> None:
        from lfexp_mcp.services.experiments.maintenance import warm_up
        from lfexp_mcp.services.workspace import open_workspace
        from lfexp_mcp.settings import load_settings

        async with open_workspace(self._settings or load_settings()) as workspace, anyio.create_task_group() as tasks:
            tasks.start_soon(warm_up, workspace)
            task_status.started(workspace)
            await self._closing.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving(settings: Settings | None) -> AsyncIterator[ServerState]:
    """Hold the state while a server runs.

    Args:
        settings: Where to work; None reads the environment at the first call.
    """
    async with anyio.create_task_group() as tasks:
        state = ServerState(settings, tasks)
        try:
            yield state
        finally:
            state.close()


ToolContext = Context[ServerState, Any]
"""The context of a call."""


async def workspace_of(ctx: ToolContext) -> Workspace:
    """Return the workspace that a call works in.

    Raises:
        LfexpError: As `ServerState.workspace`.
    """
    return await ctx.request_context.lifespan_context.workspace()
