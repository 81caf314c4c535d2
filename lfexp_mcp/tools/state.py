"""State of a server process: a workspace per caller, opened by the first call that needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import Context

from lfexp_mcp.errors import BusyError, CredentialsError
from lfexp_mcp.imports import import_httpx
from lfexp_mcp.tools.callers import Caller, caller_of

if TYPE_CHECKING:
    from lfexp_mcp.services.workspace import Workspace
    from lfexp_mcp.settings import Settings

MAX_WORKSPACES = 64
"""Workspaces open at once; the one that was used least recently makes room, if it is idle."""
IDLE_S = 900.0
"""Time after which an idle workspace is closed, when another one is opened. Its runs go on."""


@dataclass(slots=True)
class _Slot:
    """A workspace that is open, being opened, or being closed."""

    caller: Caller | None
    used: float
    opening: anyio.Lock = field(default_factory=anyio.Lock)
    closing: anyio.Event = field(default_factory=anyio.Event)
    workspace: Workspace | None = None


class ServerState:
    """The state of one server.

    A workspace is held by a task of its own, since it must be closed by the task that opened it, and a tool call's
    task ends with the call.

    Args:
        settings: Where to work; None reads the environment at the first call.
        tasks: Holds the workspaces.
        remote: Whether calls come over HTTP: files are then only those of the allowed folders, and if every caller has
            keys of its own, a call without them is refused, rather than served with the server's.
    """

    def __init__(self, settings: Settings | None, tasks: TaskGroup, *, remote: bool = False) -> None:
        self._settings = settings
        self._tasks = tasks
        self._remote = remote
        self._slots: dict[str | None, _Slot] = {}
        """By the caller's id, the least recently used first."""
        self._calls: Counter[str | None] = Counter()

    @contextmanager
    def in_use(self, caller: Caller | None) -> Iterator[None]:
        """Keep the workspace of a caller open, if it is or comes to be opened."""
        key = None if caller is None else caller.id
        self._calls[key] += 1
        try:
            yield
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]

    async def workspace(self, caller: Caller | None) -> Workspace:
        """Return the workspace of a caller, opening it on the first call; it stays open while it is `in_use`.

        Raises:
            LfexpError: The environment, the caller's keys, the store or the runs' folder cannot be used.
        """
        key = None if caller is None else caller.id
        slot = self._slots.pop(key, None)
        if slot is None:
            self._make_room()
            slot = _Slot(caller, anyio.current_time())
        self._slots[key] = slot
        slot.used = anyio.current_time()
        async with slot.opening:
            try:
                if slot.workspace is None:
                    slot.workspace = await self._tasks.start(self._hold_workspace, slot)
                return slot.workspace
            finally:
                if slot.workspace is None and self._slots.get(key) is slot:
                    del self._slots[key]

    def close(self) -> None:
        """Let the workspaces close; the task group of the server waits for them."""
        for key in list(self._slots):
            self._close(key)

    def _make_room(self) -> None:
        idle = [key for key, slot in self._slots.items() if not self._is_in_use(key, slot)]
        aged = [key for key in idle if anyio.current_time() - self._slots[key].used >= IDLE_S]
        if not aged and len(self._slots) >= MAX_WORKSPACES:
            aged = idle[:1]
        for key in aged:
            self._close(key)
        if len(self._slots) >= MAX_WORKSPACES:
            raise BusyError(f"The server already serves {MAX_WORKSPACES} callers. Call again in a minute.")

    def _is_in_use(self, key: str | None, slot: _Slot) -> bool:
        return self._calls[key] > 0 or (slot.workspace is not None and slot.workspace.is_busy)

    def _close(self, key: str | None) -> None:
        self._slots.pop(key).closing.set()

    async def _hold_workspace(self, slot: _Slot, *, task_status: TaskStatus[Workspace]) -> None:
        import_httpx()
        from lfexp_mcp.services.experiments.maintenance import warm_up
        from lfexp_mcp.services.workspace import open_workspace
        from lfexp_mcp.settings import load_settings

        settings, caller = self._settings or load_settings(), slot.caller
        if caller is not None:
            settings = caller.settings(settings)
        elif self._remote and settings.caller_keys != "server":
            raise CredentialsError("The call came without the Langfuse keys of its caller.")
        folders = (settings.script_folders or ()) if self._remote else None
        async with open_workspace(settings, folders) as workspace:
            if caller is not None:
                # What this machine knows of runs is shown only to those whom Langfuse knows.
                await workspace.gateway.project_id()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(warm_up, workspace, caller is None)
                task_status.started(workspace)
                await slot.closing.wait()
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving(settings: Settings | None, *, remote: bool = False) -> AsyncIterator[ServerState]:
    """Hold the state while a server runs; see `ServerState`."""
    async with anyio.create_task_group() as tasks:
        state = ServerState(settings, tasks, remote=remote)
        try:
            yield state
        finally:
            state.close()


RequestContext = ServerRequestContext[ServerState, Any]
"""The context of a request."""
ToolContext = Context[ServerState, Any]
"""The context of a call."""


async def keep_workspace(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Keep the caller's workspace open while a request is served; a middleware of the server."""
    with ctx.lifespan_context.in_use(caller_of(ctx.request)):
        return await call_next(ctx)


async def workspace_of(ctx: ToolContext) -> Workspace:
    """Return the workspace that a call works in.

    Raises:
        LfexpError: As `ServerState.workspace`.
    """
    return await workspace_for(ctx.request_context)


async def workspace_for(ctx: RequestContext) -> Workspace:
    """Return the workspace that a request works in.

    Raises:
        LfexpError: As `ServerState.workspace`.
    """
    return await ctx.lifespan_context.workspace(caller_of(ctx.request))
