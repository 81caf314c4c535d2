"""From a request to what a worker gets: run spec, dataset items and run folder."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import anyio
import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, RunExistsError, UsageError
from lfexp_mcp.gateway import Dataset, SpooledItems
from lfexp_mcp.model import DatasetItem, NextStep, RunSpec
from lfexp_mcp.runs.baseline import write_baseline
from lfexp_mcp.runs.events import Event, LookTaken
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.killing import kill_worker
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.services.experiments.choosing import choose_again, choose_items, choose_wider
from lfexp_mcp.services.experiments.earlier_results import events_of
from lfexp_mcp.services.experiments.early_stopping import check_rule, make_stoppable
from lfexp_mcp.services.experiments.live_dataset import LiveSample, sample_live, store_live
from lfexp_mcp.services.experiments.new_run_spec import check_params, check_script, heads_of, new_run_spec, with_request
from lfexp_mcp.services.experiments.recordings import recording_of, with_models_of, with_recording
from lfexp_mcp.services.experiments.run_prompts import resolve_prompts
from lfexp_mcp.services.next_steps import list_runs_step, resume_step, running_steps
from lfexp_mcp.services.requests import RunRequest, TraceFilter, VariantRequest
from lfexp_mcp.services.runs.held_out import check_confirmation
from lfexp_mcp.services.runs.local_runs import catch_up, read_journal
from lfexp_mcp.services.runs.read_run import read_recorded_run
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.spool import Spool

DRY_RUN_ITEMS = 2
SCORED_ELSEWHERE = (
    "This machine does not know which evaluators scored the results in Langfuse: results that have scores were not "
    "scored again, not even by a new evaluator. A new run name scores all."
)
RELEASE_PATIENCE_S = 30.0
"""How long a resume waits for another process to release the run's folder, and again once that is killed."""
RELEASE_POLL_S = 0.05
EVENTS_AT_ONCE = 500
"""Journaled together of what other machines have done."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that is ready to be written to its folder."""

    folder: RunFolder
    run_spec: RunSpec
    items: Sequence[DatasetItem] | None
    """None keeps the items that the folder has."""
    earlier: Spool[Event] | None = None
    """What other machines have done of the run, for its journal."""
    is_new: bool = True
    """Whether the run begins here, rather than goes on."""
    is_recorded: bool = False
    """Whether the folder has, or had so far, only scores of results that others made."""
    scoring: RunSpec | None = None
    """What is to score its results; None if its task is to run."""
    against: Mapping[ItemKey, JsonValue] | None = None
    """The outputs of another run that a pairwise judge compares with."""
    baseline: Mapping[str, float] | None = None
    """The values that the looks of a stopping rule compare with, by item id."""

    def with_notes(self, notes: Sequence[str]) -> "PreparedRun":
        """Return the run with more for its reader to know."""
        warnings = (*notes, *self.run_spec.warnings)
        return replace(self, run_spec=self.run_spec.model_copy(update={"warnings": warnings}))

    def write(self) -> None:
        """Write it to its folder.

        Raises:
            RunExistsError: Another process has started the same run meanwhile.
            StateError: The folder cannot be written.
        """
        run_name, dataset = self.run_spec.run_name, self.run_spec.dataset_name
        if self.folder.worker.is_locked():
            raise is_running(run_name, dataset)
        if self.is_new and self.folder.has_started():
            raise _exists(run_name, dataset, resume_step(dataset, run_name))
        if self.scoring is None or self.is_recorded:
            if self.baseline is not None:
                write_baseline(self.folder, self.baseline)
            self.folder.write_run_spec(self.run_spec, self.items, is_new=self.is_new or self.is_recorded)
        if self.scoring is not None:
            self.folder.write_scoring(self.scoring, self.items, self.against)
        if self.earlier:
            journal, events = self.folder.open_journal(), iter(self.earlier)
            while some := tuple(islice(events, EVENTS_AT_ONCE)):
                journal.append(*some)
            journal.close()


async def prepare_run(ws: Workspace, request: RunRequest) -> PreparedRun:
    """Check a request against Langfuse and this machine, and work out the run.

    Raises:
        LfexpError: As `run_experiment`.
    """
    # Checked first, since it needs neither Langfuse nor a worker.
    check_script(ws, request.task_script, "task")
    check_script(ws, request.evaluator_script, "evaluator")
    _ = request.built_in_evaluators
    ws.runs.prepare()
    if request.dry_run:
        return await _prepare_dry_run(ws, request)
    notes: tuple[str, ...] = ()
    if request.source_type == "live":
        # Stored before the run is known to be possible: a resume has to find the same items.
        sample = await _sample_live(ws, request)
        dataset, notes = await store_live(ws, sample), sample.notes
    else:
        dataset = await ws.gateway.datasets.get(request.dataset or "")
    folder = ws.runs.folder(await ws.gateway.experiments.id_of(dataset.id, request.run_name))
    if not folder.has_started():
        state = folder.read_state()
    else:
        check_confirmation(dataset.name, request.run_name, folder.run_spec().confirmation, held_out=False)
        if not request.resume and not folder.is_running():
            raise _exists(request.run_name, dataset.name, request.step("Resume it.", resume=True))
        state = await released_state(ws, folder, request.run_name, dataset.name)
        if not state.is_recorded:
            return await _prepare_resume(ws, folder, request, dataset)
    return (await _prepare_new(ws, folder, request, dataset, state)).with_notes(notes)


async def _prepare_dry_run(ws: Workspace, request: RunRequest) -> PreparedRun:
    """Prepare a run of a few items, of which nothing is stored."""
    notes: tuple[str, ...] = ()
    items: Sequence[DatasetItem]
    if request.source_type == "live":
        sample = await _sample_live(ws, request)
        dataset, items, notes = sample.dataset, sample.items, sample.notes
    else:
        dataset = await ws.gateway.datasets.get(request.dataset or "")
        items = await ws.gateway.datasets.items(dataset)
    chosen = await choose_items(ws, dataset.name, request.run_name, items, request.items)
    heads = await heads_of(ws, dataset, request.run_name, request.repeats)
    whole = await new_run_spec(ws, request, dataset, chosen, heads)
    few = chosen.items[:DRY_RUN_ITEMS]
    changes = {"item_count": len(few), "dry_run_of": whole.total_items, "experiments": whole.experiments[:1]}
    return PreparedRun(ws.runs.dry_folder(), whole.model_copy(update=changes), few).with_notes(notes)


async def _sample_live(ws: Workspace, request: RunRequest) -> LiveSample:
    return await sample_live(ws, request.run_name, request.sample_size, request.traces or TraceFilter())


async def _prepare_new(
    ws: Workspace, folder: RunFolder, request: RunRequest, dataset: Dataset, state: RunState
) -> PreparedRun:
    """Prepare a run that this machine does not know, or has only scored: a new one, or one of another machine."""
    heads = await heads_of(ws, dataset, request.run_name, request.repeats)
    items, found = await asyncio.gather(
        ws.gateway.datasets.items(dataset),
        asyncio.gather(*(ws.gateway.experiments.find(dataset.id, head.name) for head in heads)),
    )
    taken = {experiment.name: experiment for experiment in found if experiment is not None}
    if taken and not request.resume:
        if request.run_name not in taken:
            raise RunExistsError(
                f"A repetition of run {request.run_name!r} would be called {min(taken)!r}, as another run of dataset "
                f"{dataset.name!r} is. Use another run name."
            )
        raise _exists(request.run_name, dataset.name, request.step("Resume it.", resume=True))
    experiment = taken.get(request.run_name)
    # A sweep that is resumed goes on with the runs that exist, and begins the others.
    if experiment is None and request.resume and not isinstance(request, VariantRequest):
        raise NotFoundError(
            f"There is no run {request.run_name!r} of dataset {dataset.name!r} to resume.",
            next=[request.step("Start it.", resume=False), list_runs_step(dataset.name)],
        )
    if experiment is None and not request.names_task:
        raise UsageError(
            f"Run {request.run_name!r} has not begun, so it has no task yet. Pass task_script or task_prompt."
        )
    if not request.names_task:
        raise UsageError(
            f"Run {request.run_name!r} was started on another machine, so its task is not known here. Pass "
            "task_script or task_prompt, and the evaluators and judges that it had."
        )
    if experiment is None:
        use = recording_of(request)
        chosen = await choose_items(ws, dataset.name, request.run_name, items, request.items)
        run_spec = await new_run_spec(with_models_of(ws, use), request, dataset, chosen, heads)
        run_spec = with_recording(run_spec, use)
        if request.compare_with is None:
            return PreparedRun(folder, run_spec, chosen.items)
        stoppable = await make_stoppable(ws, request, run_spec, chosen.items)
        return PreparedRun(folder, stoppable.run_spec, stoppable.items, baseline=stoppable.values)
    record = await read_recorded_run(ws, dataset.name, request.run_name)
    results = [item for item in record.items if item.status != "pending"]
    repeats = record.provenance.repeat_count if record.provenance else 1
    _check_repeats(request, repeats)
    heads = await heads_of(ws, dataset, request.run_name, repeats)
    part = record.plan.part if record.plan else None
    chosen = await choose_again(ws, dataset.name, request, items, part, {item.item_id for item in results})
    use = recording_of(request, record=record)
    run_spec = await new_run_spec(with_models_of(ws, use), request, dataset, chosen, heads, record)
    run_spec = with_recording(run_spec, use)
    earlier = await anyio.to_thread.run_sync(events_of, results, state)
    for look in record.looks if not state.looks else ():
        earlier.append(LookTaken(look=look))
    if earlier and (run_spec.evaluator_script or run_spec.evaluators or run_spec.judges):
        run_spec = run_spec.model_copy(update={"warnings": (*run_spec.warnings, SCORED_ELSEWHERE)})
    known = state.is_recorded
    return PreparedRun(folder, run_spec, chosen.items, earlier, is_new=not known, is_recorded=known)


async def released_state(ws: Workspace, folder: RunFolder, run_name: str, dataset: str) -> RunState:
    """Wait until no other process works in the folder of a run that has ended, and read its journal.

    Raises:
        RunExistsError: The run is running.
    """
    if folder.is_running():
        raise is_running(run_name, dataset)
    await wait_for_release(folder)
    replay = ws.replays.of(folder)
    await catch_up(replay)
    return replay.state


async def wait_for_release(folder: RunFolder) -> None:
    """Wait a while until no process works in a folder: a worker that has ended, or only delivers, leaves it soon.

    One that still delivers then is killed: it has journaled what it sent, and whoever waits sends the rest.
    """
    for is_last in (False, True):
        with anyio.move_on_after(RELEASE_PATIENCE_S):
            while folder.worker.is_locked():  # noqa: ASYNC110 - another process holds it
                await anyio.sleep(RELEASE_POLL_S)
        if is_last or not folder.worker.is_delivering():
            return
        await anyio.to_thread.run_sync(kill_worker, folder)


async def _prepare_resume(ws: Workspace, folder: RunFolder, request: RunRequest, dataset: Dataset) -> PreparedRun:
    """Prepare to go on with a run of this machine: the same items, the current limits, and what the request names."""
    before = folder.run_spec()
    _check_repeats(request, before.repeats)
    before = await with_holdout(ws, before, dataset)
    items = SpooledItems(folder.items(before))
    wider = await choose_wider(ws, dataset.name, request, before.part, items)
    if wider is not None:
        items = wider.items
        changes = {
            "item_count": len(items),
            "part": wider.part,
            "dataset_version": wider.dataset_version or before.dataset_version,
            "warnings": tuple(dict.fromkeys((*before.warnings, *wider.notes))),
        }
        before = before.model_copy(update=changes)
    check_params(request, before.params)
    check_rule(request, before.stopping)
    use = recording_of(request, before)
    open_items = items if before.set_aside is None else SpooledItems(before.open_items(items))
    record = await read_journal(ws, folder)
    run_spec = await resolve_prompts(with_models_of(ws, use), request, before, dataset, open_items, record)
    run_spec = with_recording(await with_request(ws, request, run_spec, before.metadata), use)
    return PreparedRun(folder, run_spec, items if wider is not None else None, is_new=False)


def _check_repeats(request: RunRequest, repeats: int) -> None:
    """Refuse a resume with another number of repetitions; 1 is the default, which asks for none."""
    if request.repeats not in (1, repeats):
        raise UsageError(
            f"Run {request.run_name!r} has repeats={repeats}, which a resume cannot change: omit `repeats`, or use "
            "another run name.",
            next=[request.step("Resume it with its repeats.", repeats=1)],
        )


async def with_holdout(ws: Workspace, run_spec: RunSpec, dataset: Dataset) -> RunSpec:
    """Set aside the items of a run that its dataset's holdout covers, if that was declared since the run began."""
    if dataset.holdout is None or run_spec.holdout == dataset.holdout.digest:
        return run_spec
    return run_spec.model_copy(update={"set_aside": await ws.gateway.datasets.holdout(dataset)})


def _exists(run_name: str, dataset: str, resume: NextStep) -> RunExistsError:
    return RunExistsError(
        f"Run {run_name!r} of dataset {dataset!r} has results already. Use another run name, or resume it.",
        next=[resume],
    )


def is_running(run_name: str, dataset: str) -> RunExistsError:
    """Return the refusal of a call that a running run does not allow."""
    return RunExistsError(
        f"Run {run_name!r} of dataset {dataset!r} is running. Wait for it, cancel it or use another run name.",
        next=running_steps(dataset, run_name),
    )
