"""A task group that raises our errors as themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from lfexp_mcp.errors import LfexpError


@asynccontextmanager
async def open_group() -> AsyncIterator[TaskGroup]:
    """Open a task group; of errors of ours in it, the first one is raised without the group around it."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except* LfexpError as failed:
        raise _first(failed) from None


def _first(group: BaseExceptionGroup[LfexpError]) -> LfexpError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
