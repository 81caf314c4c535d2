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
        raise first_error(failed) from None


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


def first_error(error: BaseException) -> BaseException:
    """Return the first error in a group, however deep; an error that is no group is returned as it is."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
