"""Carry out a worker command: run a run, or deliver what runs have left behind."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio

from lfexp_mcp.errors import LfexpError, RunExistsError, StateError
from lfexp_mcp.runs.events import Event, RunEnded, Warned, WorkerLoading
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.protocol import Reply, WorkerCommand
from lfexp_mcp.worker.isolation import run_in_thread
from lfexp_mcp.worker.loading import load_run
from lfexp_mcp.worker.run import Run
from lfexp_mcp.worker.sdk import Sdk
from lfexp_mcp.worker.settlement import deliver


def carry_out(command: WorkerCommand, reply: Callable[[Reply], None], sdk: Sdk) -> None:
    """Carry out a command.

    Args:
        command: What to do.
        reply: Called when this process holds the run's folder, and again when the user's code is loaded.
        sdk: Makes the spans.
    """
    if command.run is not None:
        folder = RunFolder(command.run)
        try:
            with folder.worker.locked():
                _run(folder, reply, sdk, scores_only=command.scores_only)
        except RunExistsError as error:
            reply(Reply.of_error(error))
    else:
        reply(Reply())
        reply(Reply())
        anyio.run(_deliver, command.deliver, sdk)


async def _deliver(paths: Sequence[Path], sdk: Sdk) -> None:
    """Deliver what runs have left, except those that another process holds or that cannot be read."""
    for folder in map(RunFolder, paths):
        with suppress(LfexpError, OSError), folder.worker.locked(delivers=True):
            await deliver(folder, sdk)


def _run(folder: RunFolder, reply: Callable[[Reply], None], sdk: Sdk, *, scores_only: bool) -> None:
    try:
        state, journal = folder.read_state(), folder.open_journal()
        journal.append(WorkerLoading(scores_only=scores_only))
        reply(Reply())
        try:
            run = Run(load_run(folder, state, journal, scores_only=scores_only), sdk)
        except LfexpError as error:
            journal.append(*_refusal(None if scores_only else state.run_ended, error))
            raise
    except LfexpError as error:
        reply(Reply.of_error(error))
    except OSError as error:
        reply(Reply.of_error(StateError(f"The run in {folder.path} cannot start: {error}.")))
    else:
        reply(Reply())
        # `anyio.run` would mark the context, which the user's threads inherit, as running an event loop.
        run_in_thread(run.carry_out())


def _refusal(before: RunEnded | None, error: LfexpError) -> list[Event]:
    """Return what to journal of a refusal, for callers that did not wait; an ended run keeps its end."""
    if before is None:
        return [RunEnded(status="failed", reason=str(error))]
    return [Warned(text=f"It was not resumed: {error}"), before]
