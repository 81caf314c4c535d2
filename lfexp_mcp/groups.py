"""Task groups that raise our errors as themselves."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from lfexp_mcp.errors import LfexpError

T = TypeVar("T")


@asynccontextmanager
async def open_group() -> AsyncIterator[TaskGroup]:
    """Open a task group; of errors of ours in it, the first one is raised without the group around it."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except* LfexpError as failed:
        raise _first(failed) from None


async def for_each(values: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do the same work for each value, some at a time; values are drawn only as their turn comes.

    Args:
        values: May be endless in size: no more than `at_once` of them are held.
        work: What to do with one.
        at_once: How many are worked on at the same time.

    Raises:
        LfexpError: The first that the work or the drawing raised; the rest is given up.
    """
    left = iter(values)

    async def take() -> None:
        for value in left:
            await work(value)

    async with open_group() as group:
        for _ in range(at_once):
            group.start_soon(take)


def _first(group: BaseExceptionGroup[LfexpError]) -> LfexpError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
