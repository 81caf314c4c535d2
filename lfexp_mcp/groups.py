"""Task groups that raise our errors without the group around them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from lfexp_mcp.errors import LfexpError

T = TypeVar("T")


@asynccontextmanager
async def open_group() -> AsyncIterator[TaskGroup]:
    """Open a task group; the first of our errors in it is raised by itself."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except* LfexpError as failed:
        raise _first(failed) from None


async def for_each(values: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do the same work for each value, some at a time.

    Args:
        values: Drawn as their turn comes, so that no more than `at_once` are held.

    Raises:
        LfexpError: The first that the work or the iteration raised; the rest is cancelled.
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
