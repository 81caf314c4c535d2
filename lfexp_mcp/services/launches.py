"""Runs that are being launched, from the call that asks for one until a worker has loaded its scripts.

A launch is a task of its own: the run begins although the call that asked for it was cancelled or its wait is over.
Reading a large dataset, or starting a process on a busy machine, may take longer than a client waits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from lfexp_mcp.errors import LfexpError, RunExistsError, UsageError
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.next_steps import running_steps

POLL_S = 0.02
CLOSE_GRACE_S = 10.0
"""How long a process that exits waits for its launches."""


class Launch:
    """One run that is being launched."""

    def __init__(
        self, dataset: str, run_name: str, request: object, work: Callable[["Launch"], Awaitable[None]]
    ) -> None:
        self.dataset = dataset
        self.run_name = run_name
        self.request = request
        self.run_spec: RunSpec | None = None
        """None until it has been read from Langfuse."""
        self.folder: RunFolder | None = None
        """Set when a worker has the run; its journal tells the rest."""
        self.has_unreported_failure = False
        """Whether it failed when no call waited for it any longer."""
        self._scope = anyio.CancelScope()
        self._failure: LfexpError | None = None
        self._waiting = 0
        self._task = asyncio.create_task(self._carry_out(work))

    async def _carry_out(self, work: Callable[["Launch"], Awaitable[None]]) -> None:
        with self._scope:
            try:
                await work(self)
            except LfexpError as failure:
                self._failure = failure
                # A run that exists already has not failed.
                self.has_unreported_failure = not self.is_awaited and not isinstance(failure, RunExistsError)

    @property
    def is_pending(self) -> bool:
        """Whether it goes on."""
        return not self._task.done()

    @property
    def is_awaited(self) -> bool:
        """Whether a call waits for it, and will report a failure."""
        return self._waiting > 0

    async def wait(self, seconds: float, *, until_taken: bool = False) -> bool:
        """Wait until the launch has ended; cancelling the wait does not cancel the launch.

        Args:
            seconds: Maximum time to wait.
            until_taken: Return as soon as a worker has the run, while it still loads the scripts.

        Returns:
            False if the time was over first.

        Raises:
            LfexpError: The run could not be launched.
        """
        self._waiting += 1
        try:
            with anyio.move_on_after(max(seconds, 0)):
                while self.is_pending and not (until_taken and self.folder is not None):
                    await asyncio.wait({self._task}, timeout=POLL_S if until_taken else None)
        finally:
            self._waiting -= 1
        if self._failure is not None:
            raise self._failure
        return not self.is_pending or (until_taken and self.folder is not None)

    async def cancel(self) -> None:
        """End the launch. If a worker has the run by then, `folder` is set and the run is to be cancelled there."""
        self._scope.cancel()
        await self.ended()

    async def ended(self) -> None:
        """Wait until the launch has ended, whatever its outcome."""
        await asyncio.wait({self._task})


class StartGate:
    """Lets several launches begin together, or none of them.

    Args:
        folders: Those of their runs, which share `max_concurrency`.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self.failure: LfexpError | None = None
        """Of the launch that failed first."""
        self._count = len(folders)
        self._open = asyncio.Event()

    @asynccontextmanager
    async def passing(self, name: str) -> AsyncIterator[None]:
        """Surround one launch: if it fails or is cancelled before all have come to the gate, none begins.

        Args:
            name: The launch for a reader.
        """
        try:
            yield
        except LfexpError as error:
            if self.failure is None and not self._open.is_set():
                error.args = (f"{name}: {error}",)
                self.failure = error
            raise
        finally:
            # It has ended before the gate opened, so the others would wait in vain.
            if not self._open.is_set() and self._count > 0:
                self.failure = self.failure or UsageError(f"{name} was cancelled before it began.")
                self._open.set()

    async def wait(self) -> None:
        """Wait until all have come here.

        Raises:
            LfexpError: One of them failed.
        """
        self._count -= 1
        if self._count == 0:
            self._open.set()
        await self._open.wait()
        if self.failure is not None:
            raise self.failure


class Launches:
    """The launches of one process: those that go on, and those whose failure nobody has seen."""

    def __init__(self) -> None:
        self._launches: dict[tuple[str, str], Launch] = {}

    def begin(self, dataset: str, run_name: str, request: object, work: Callable[[Launch], Awaitable[None]]) -> Launch:
        """Launch a run, or join the launch that an equal call has left behind.

        Args:
            request: What was asked for.
            work: Does it, and sets the launch's `run_spec` and `folder` on the way.

        Raises:
            RunExistsError: Another call is launching it, and no worker has it yet.
        """
        known = self.find(dataset, run_name)
        if known is not None and known.is_pending:
            if known.request == request and not known.is_awaited:
                return known
            raise RunExistsError(
                f"Run {run_name!r} of dataset {dataset!r} is being started by another call. "
                "Wait for it, cancel it or use another run name.",
                next=running_steps(dataset, run_name),
            )
        self._launches = {
            key: launch for key, launch in self._launches.items() if launch.is_pending or launch.has_unreported_failure
        }
        launch = self._launches[dataset, run_name] = Launch(dataset, run_name, request, work)
        return launch

    def find(self, dataset: str, run_name: str) -> Launch | None:
        """Return the launch of a run that no worker has yet, if it goes on or failed unnoticed."""
        launch = self._launches.get((dataset, run_name))
        if launch is None or launch.folder is not None:
            return None
        return launch if launch.is_pending or launch.has_unreported_failure else None

    @property
    def is_pending(self) -> bool:
        """Whether any launch goes on."""
        return any(launch.is_pending for launch in self._launches.values())

    def variants_of(self, dataset: str, sweep: str) -> list[str]:
        """Return the names of the runs of a sweep that no worker has yet."""
        return [
            launch.run_name
            for launch in self._launches.values()
            if launch.dataset == dataset and launch.is_pending and getattr(launch.request, "variant_of", None) == sweep
        ]

    def forget(self, launch: Launch) -> None:
        """Drop a launch whose failure was reported."""
        if self._launches.get((launch.dataset, launch.run_name)) is launch:
            del self._launches[launch.dataset, launch.run_name]

    async def close(self) -> None:
        """Give pending launches some time to end, then cancel them."""
        pending = [launch for launch in self._launches.values() if launch.is_pending]
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(CLOSE_GRACE_S):
                for launch in pending:
                    await launch.ended()
            for launch in pending:
                await launch.cancel()
