"""Carry out a worker command: run a run, or deliver what runs have left behind."""

import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio

from lfexp_mcp.errors import LfexpError, RunExistsError, StateError, WorkerError
from lfexp_mcp.model import Provenance, RunSpec
from lfexp_mcp.runs.events import Event, RunEnded, Warned, WorkerLoading
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import prepare_encoding
from lfexp_mcp.runs.protocol import Reply, WorkerCommand
from lfexp_mcp.worker.isolation import run_in_thread
from lfexp_mcp.worker.loading import load_run
from lfexp_mcp.worker.provenance import package_versions
from lfexp_mcp.worker.run import Run
from lfexp_mcp.worker.sdk import Sdk
from lfexp_mcp.worker.settlement import deliver

LATE_MODULES = ("encodings.idna", "google.protobuf.json_format")
"""Otherwise imported by the first connection and the first delivery, while a run waits."""
NOT_BEGUN = "It was to begin together with other runs, which did not all load."


def prepare() -> None:
    """Build, import and read what any run needs; a spare worker has it when its command comes."""
    for name in LATE_MODULES:
        importlib.import_module(name)
    RunSpec.model_rebuild()
    # Its schema is built by the first use.
    Provenance().as_json()
    prepare_encoding()
    package_versions(())


def carry_out(command: WorkerCommand, reply: Callable[[Reply], None], sdk: Sdk, may_begin: Callable[[], bool]) -> None:
    """Carry out a command.

    Args:
        command: What to do.
        reply: Called when this process holds the run's folder, and again when the user's code is loaded.
        sdk: Makes the spans.
        may_begin: Waits for the signal of runs that begin together; False if there will be none.
    """
    if command.run is not None:
        folder = RunFolder(command.run)
        try:
            with folder.worker.locked():
                _run(folder, command, reply, sdk, may_begin)
        except RunExistsError as error:
            reply(Reply.of_error(error))
    else:
        reply(Reply())
        reply(Reply())
        anyio.run(_deliver, command.deliver, sdk)


async def _deliver(paths: Sequence[Path], sdk: Sdk) -> None:
    """Deliver what runs have left, except those that another process holds or starts, or that cannot be read."""
    for folder in map(RunFolder, paths):
        with suppress(LfexpError, OSError), folder.worker.locked(delivers=True):
            # A run that is resumed delivers it by itself.
            if not folder.worker.is_being_started():
                await deliver(folder, sdk)


def _run(
    folder: RunFolder, command: WorkerCommand, reply: Callable[[Reply], None], sdk: Sdk, may_begin: Callable[[], bool]
) -> None:
    scores_only = command.scores_only
    try:
        state, journal = folder.read_state(), folder.open_journal()
        journal.append(WorkerLoading(scores_only=scores_only))
        reply(Reply())
        try:
            before = state.run_ended
            run = Run(load_run(folder, state, journal, sdk.settings, scores_only=scores_only), sdk, command.together)
        except LfexpError as error:
            journal.append(*_refusal(None if scores_only else state.run_ended, error))
            raise
    except LfexpError as error:
        reply(Reply.of_error(error))
    except OSError as error:
        reply(Reply.of_error(StateError(f"The run in {folder.path} cannot start: {error}.")))
    else:
        reply(Reply())
        if command.together and not may_begin():
            journal.append(*_refusal(before, WorkerError(NOT_BEGUN)))
            return
        # `anyio.run` would mark the context, which the user's threads inherit, as running an event loop.
        run_in_thread(run.carry_out())


def _refusal(before: RunEnded | None, error: LfexpError) -> list[Event]:
    """Return what to journal of a refusal, for callers that did not wait; an ended run keeps its end."""
    if before is None:
        return [RunEnded(status="failed", reason=str(error))]
    return [Warned(text=f"It was not resumed: {error}"), before]
