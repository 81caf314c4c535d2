"""Work that goes on when the call that asked for it has ended; an equal call joins it, or takes its result."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio

from lfexp_mcp.model import Progress

T = TypeVar("T")
REPORT_INTERVAL_S = 2.0


@dataclass(slots=True)
class Job:
    """One piece of work."""

    done: int = 0
    total: int = 0
    task: "asyncio.Task[Any] | None" = None


@dataclass(slots=True)
class Background:
    """The work of one process. What nobody has asked for again is lost when the process ends."""

    _jobs: dict[Hashable, Job] = field(default_factory=dict)

    async def do(
        self,
        request: Hashable,
        work: Callable[[Job], Awaitable[T]],
        wait_seconds: float,
        on_progress: Callable[[Progress], Awaitable[None]] | None = None,
    ) -> T | Job:
        """Wait for the work of a request, which begins unless it goes on already.

        Args:
            request: What is asked for; an equal one means the same work.
            work: Does it, and counts in the job how far it is.
            wait_seconds: How long to wait for its end.
            on_progress: Called with how far it is.

        Returns:
            Its result, once; or the job, if it goes on when the wait is over.

        Raises:
            LfexpError: What the work raised.
        """
        job = self._jobs.get(request)
        if job is None:
            job = self._jobs[request] = Job()
            job.task = asyncio.ensure_future(work(job))
        task = cast("asyncio.Task[T]", job.task)
        until = anyio.current_time() + wait_seconds
        while not task.done() and (left := until - anyio.current_time()) > 0:
            # Waiting like this does not cancel the work when the call is cancelled.
            await asyncio.wait({task}, timeout=min(left, REPORT_INTERVAL_S))
            if on_progress is not None:
                await on_progress(Progress(job.done, job.total))
        if not task.done():
            return job
        self._jobs.pop(request, None)
        return task.result()

    def has(self, request: Hashable) -> bool:
        """Whether the work of a request goes on, or its result waits to be taken."""
        return request in self._jobs

    @property
    def is_pending(self) -> bool:
        """Whether any of it goes on."""
        return any(job.task is not None and not job.task.done() for job in self._jobs.values())

    async def close(self) -> None:
        """Cancel what goes on."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
