"""One command's work: in an event loop, within a workspace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import anyio

from lfexp_mcp.settings import load_settings

if TYPE_CHECKING:
    from lfexp_mcp.services.workspace import Workspace

Outcome = TypeVar("Outcome")


def in_workspace(work: Callable[[Workspace], Awaitable[Outcome]]) -> Outcome:
    """Open the workspace of the environment, do the work in it and return what came out.

    Raises:
        LfexpError: What the work or the opening raised.
    """
    from lfexp_mcp.services.experiments.maintenance import try_deliver_pending
    from lfexp_mcp.services.workspace import open_workspace

    async def session() -> Outcome:
        async with open_workspace(load_settings()) as workspace:
            outcome = await work(workspace)
            await try_deliver_pending(workspace)
            return outcome

    return anyio.run(session)
