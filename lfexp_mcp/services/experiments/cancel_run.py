"""Stopping runs."""

from collections.abc import Iterator
from contextlib import suppress

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import RunProgress
from lfexp_mcp.errors import BackendError, NotFoundError
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import RunSpec, RunStatus
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.killing import kill_worker, record_kill
from lfexp_mcp.services.next_steps import list_runs_step
from lfexp_mcp.services.runs.completeness import current_status
from lfexp_mcp.services.runs.follower import Follower
from lfexp_mcp.services.runs.held_out import LOOKUP_PATIENCE_S, describe_held_out
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.runs.read_run import ANSWER_RESERVE_S
from lfexp_mcp.services.runs.run_answer import combine_progress, describe_journal, describe_launch
from lfexp_mcp.services.workspace import Workspace

COUNTS_AS_LOOK = "What is done is kept, and this counts as a look at the held-out items. confirm_run goes on with it."
ALREADY_ENDED = "The run had ended before this call; nothing was cancelled."
ELSEWHERE = (
    "Nothing was cancelled: no process of this machine runs the run. Another machine has begun or resumed it and may "
    "be running it: it has to be cancelled there."
)
CANCEL_PATIENCE_S = 15.0
"""How long a cancel waits, beyond the run's grace period, before it kills the worker."""


async def cancel_run(ws: Workspace, dataset: str, run_name: str) -> RunProgress:
    """Stop a run of this machine, or all of a sweep: no new items, a grace period for running ones; results are kept.

    A run that is being prepared is stopped before it begins. One that has ended is left as it is, and so is one that
    another machine has begun or resumed, whose status is then `unknown` unless it has ended there.

    Raises:
        NotFoundError: There is no such dataset, or no such run on this machine.
    """
    launch = ws.launches.find(dataset, run_name)
    folder = await find_run_folder(ws, dataset, run_name)
    # A run comes before a sweep of the same name.
    is_run = (launch is not None and launch.is_pending) or (folder is not None and folder.is_running())
    if not is_run and (variants := runs_of(ws, dataset, run_name)):
        answers: dict[str, RunProgress] = {}

        async def cancel(name: str) -> None:
            answers[name] = await cancel_run(ws, dataset, name)

        await for_each(variants, cancel, len(variants))
        return combine_progress(RunProgress, run_name, [answers[name] for name in variants])
    if launch is not None and launch.is_pending:
        await launch.cancel()
        if launch.folder is None:
            return describe_launch(ws, launch, cancelled=True)
    # Looked for again, since a worker may have got the run before its launch was cancelled.
    folder = await find_run_folder(ws, dataset, run_name)
    if folder is None:
        known = [run_spec.run_name for run_spec in _runs_here(ws, dataset)]
        advice = "A run of another machine has to be cancelled there."
        raise NotFoundError.of(
            f"run of dataset {dataset!r} on this machine", run_name, known, advice, next=[list_runs_step(dataset)]
        )
    was_running = folder.is_running()
    if was_running:
        folder.request_cancel()
        follower = Follower(ws.replays.of(folder))
        if not await follower.wait(follower.run_spec.limits.cancel_grace + CANCEL_PATIENCE_S):
            await _kill(folder)
    if folder.run_spec().confirmation is not None:
        answer = describe_held_out(ws, folder, folder.run_spec())
        answer.warnings = [COUNTS_AS_LOOK] if was_running else [ALREADY_ENDED]
        return answer
    described = await describe_journal(ws, folder, anyio.current_effective_deadline() - ANSWER_RESERVE_S)
    answer = RunProgress(**{name: getattr(described, name) for name in RunProgress.model_fields})
    if not was_running:
        answer.status = await _status_of_all_machines(ws, dataset, run_name) or answer.status
        answer.warnings = [ELSEWHERE if answer.status == "unknown" else ALREADY_ENDED, *answer.warnings]
    return answer


async def _status_of_all_machines(ws: Workspace, dataset: str, run_name: str) -> RunStatus | None:
    """Return the status of a run that may have been resumed on another machine; None if Langfuse does not tell."""
    with anyio.move_on_after(LOOKUP_PATIENCE_S), suppress(BackendError):
        found = await ws.gateway.datasets.get(dataset)
        experiment = await ws.gateway.experiments.find(found.id, run_name)
        return await current_status(ws, experiment) if experiment is not None else None
    return None


async def kill_run(ws: Workspace, dataset: str, run_name: str) -> None:
    """Kill the worker of a run with the processes that it started; journaled results are kept.

    Raises:
        NotFoundError: There is no such dataset.
    """
    for name in runs_of(ws, dataset, run_name) or [run_name]:
        folder = await find_run_folder(ws, dataset, name)
        if folder is not None:
            await _kill(folder)


def runs_of(ws: Workspace, dataset: str, sweep: str) -> list[str]:
    """Return the names of a sweep's or a confirmation's runs on this machine, also of those that are being launched."""
    started = [run_spec.run_name for run_spec in _runs_here(ws, dataset) if run_spec.variant_of == sweep]
    return list(dict.fromkeys([*ws.launches.variants_of(dataset, sweep), *started]))


def _runs_here(ws: Workspace, dataset: str) -> Iterator[RunSpec]:
    """The runs of a dataset that were started on this machine, with these keys."""
    here = (ws.gateway.backend.url, ws.gateway.public_key, dataset)
    for _, run_spec in ws.runs.started():
        if (run_spec.base_url, run_spec.public_key, run_spec.dataset_name) == here:
            yield run_spec


async def _kill(folder: RunFolder) -> None:
    if folder.is_running() and await anyio.to_thread.run_sync(kill_worker, folder):
        await anyio.to_thread.run_sync(record_kill, folder)
