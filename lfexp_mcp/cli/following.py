"""Following a run to its end, with a progress bar and graceful cancelling by Ctrl-C."""

import asyncio
import math
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from lfexp_mcp.cli.output import print_note
from lfexp_mcp.errors import UsageError
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Progress
from lfexp_mcp.reports.untrusted import one_line
from lfexp_mcp.services.experiments.cancel_run import cancel_run, kill_run
from lfexp_mcp.services.workspace import Workspace

A = TypeVar("A")
OnProgress = Callable[[Progress], Awaitable[None]]


async def stay_with(workspace: Workspace, dataset: str, run_name: str, start: Callable[..., Awaitable[A]]) -> A:
    """Start a run, or a scoring of one, and stay with it until it ends.

    The first Ctrl-C cancels the run and keeps its results, the second kills its process, the third ends only this
    command.

    Args:
        dataset: The run's.
        run_name: By which it is cancelled.
        start: A service that starts it, with all but `wait_seconds` and `on_progress`.

    Raises:
        LfexpError: The run could not start.
    """
    with _bar(run_name) as on_progress, _interrupts() as interrupts:
        async with open_group() as tasks:
            tasks.start_soon(_stop_on, interrupts, workspace, dataset, run_name)
            answer = await start(wait_seconds=math.inf, on_progress=on_progress)
            tasks.cancel_scope.cancel()
    return answer


async def _stop_on(interrupts: asyncio.Queue[None], workspace: Workspace, dataset: str, run_name: str) -> None:
    await interrupts.get()
    start = workspace.launches.find(dataset, run_name)
    if start is not None:
        await start.cancel()
        if start.folder is None:
            raise UsageError(f"Stopped: run {run_name!r} had not begun.")
    print_note("Cancelling: running items get a moment to end, results are kept. Ctrl-C again kills the run.")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_run, workspace, dataset, run_name)
        await interrupts.get()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print_note("Killing the run; what is journaled is kept, and --resume goes on from there.")
        await kill_run(workspace, dataset, run_name)


@contextmanager
def _interrupts() -> Iterator[asyncio.Queue[None]]:
    """Put each Ctrl-C into a queue."""
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[None] = asyncio.Queue()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(received.put_nowait, None)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar(run_name: str) -> Iterator[OnProgress | None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    name, words = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[words]}"))
    columns = (name, BarColumn(), MofNCompleteColumn(), words)
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(one_line(run_name), total=None, words="")

        async def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, words=one_line(str(progress)))

        yield show
