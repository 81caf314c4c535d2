"""Confirming a run: its code and its baseline's run over the held-out items, which answer once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio
import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.answers.confirmation import ConfirmAnswer
from lfexp_mcp.errors import LfexpError, UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import Confirmation, DatasetItem, NextStep, Progress, RunRecord
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.comparison.comparability import find_issues
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.confirmation.looks import DELTA_STEP, MIN_HELD_OUT, Looks, Size, levels_of, read_looks, size_of
from lfexp_mcp.services.confirmation.measured import MeasuredPair, plan_run, read_measured, read_pair
from lfexp_mcp.services.confirmation.verdict import HeldOutVerdict, decide
from lfexp_mcp.services.experiments.preparation import PreparedRun, released_state
from lfexp_mcp.services.experiments.run_experiment import Together, launch_prepared
from lfexp_mcp.services.experiments.together import Start, begin_together, progress_of_all, wait_for_all
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.next_steps import add_items_step
from lfexp_mcp.services.run_requests import ConfirmRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.runs.read_run import read_recorded_run
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import items_to_show


@dataclass(frozen=True, slots=True)
class _Case:
    """What is asked, and what is known of it."""

    request: ConfirmRequest
    dataset: Dataset
    items: list[DatasetItem]
    """The held-out ones."""
    measured: MeasuredPair
    baseline: Confirmation
    run: Confirmation
    looks: Looks

    @property
    def is_begun(self) -> bool:
        return self.looks.find(self.run) is not None

    @property
    def size(self) -> Size:
        levels = levels_of(self.looks.number(self.run))
        return size_of(self.measured.result, len(self.items), self.min_delta, levels)

    @property
    def min_delta(self) -> float:
        """As stated; when planning, the smallest that is considered."""
        return self.run.min_delta or DELTA_STEP

    @property
    def plans(self) -> tuple[tuple[Confirmation, RunRecord], tuple[Confirmation, RunRecord]]:
        pair = self.measured.pair
        return (self.baseline, pair.baseline.record), (self.run, pair.run.record)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a launch is for."""

    request: ConfirmRequest
    run_name: str
    variant_of: str


async def confirm_run(
    ws: Workspace, request: ConfirmRequest, *, wait_seconds: float = 45, on_progress: OnProgress | None = None
) -> ConfirmAnswer:
    """Run the code of a run and of its baseline over the held-out items, and give one verdict.

    Both are ordinary runs with names of their own, so that they go on when the wait is over or this process dies, and
    the same call goes on with them. What has been run is not run again: neither for the same question, nor the baseline
    for another run. The verdict accounts for all looks at these items that Langfuse knows of.

    Args:
        ws: The workspace.
        request: What to confirm.
        wait_seconds: How long to wait for the end.
        on_progress: Called with how many results there are.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: Nothing is held out, too little for `min_delta`, or the runs cannot be compared or run again.
        ScriptError: The code is not what was measured.
        WorkerError: A worker could not start.
        StateError: The runs' folder cannot be used.
        BackendError: Langfuse did not answer.
    """
    deadline = anyio.current_time() + wait_seconds
    case = await _read_case(ws, request)
    if request.min_delta is None:
        return _planned(ws, case)
    if not case.is_begun:
        _check_size(case)
    begun = await _begin(ws, case)
    try:
        await wait_for_all(ws, begun, deadline, _coarse(on_progress))
    except LfexpError as error:
        # The runs are resumed by this call, not as others are.
        error.next = (_again(case, "Try again once that is mended."),)
        raise
    return await _answer(ws, case, begun)


async def _read_case(ws: Workspace, request: ConfirmRequest) -> _Case:
    dataset = await ws.gateway.datasets.get(request.dataset)
    if dataset.holdout is None:
        declare = NextStep("create_dataset", {"name": dataset.name, "holdout": 0.3}, "Set items aside for later runs.")
        raise UsageError(f"Dataset {dataset.name!r} has no held-out items to confirm a run on.", next=[declare])
    items = await ws.gateway.datasets.items(dataset, held_out=True)
    measured, looks = await read_measured(ws, dataset, request), await read_looks(ws, dataset)
    baseline, run = measured.confirmations(items, request.min_delta)
    if (known := looks.find(run)) is not None:
        # Items and min_delta are those of the beginning.
        run, baseline = known, replace(baseline, items=known.items)
    return _Case(request, dataset, items, measured, looks.find(baseline) or baseline, run, looks)


def _check_size(case: _Case) -> None:
    """Refuse a look that could show nothing, or too much.

    Raises:
        UsageError: There are too few held-out items.
    """
    size, stated = case.size, case.min_delta
    if len(case.items) >= MIN_HELD_OUT and size.needed is not None and size.needed <= len(case.items):
        return
    needed = f"takes {size.needed} of them" if size.needed is not None else "takes an unknown number of them"
    planned = f"To show a difference of {stated:g} with power 0.8, look {case.looks.number(case.run)} {needed}."
    raise UsageError(f"{_what_can_be_shown(case)} {planned} Nothing was run.", next=_plans(case))


def _what_can_be_shown(case: _Case) -> str:
    count, smallest = len(case.items), case.size.smallest
    if count < MIN_HELD_OUT:
        return f"{count} items are held out: of fewer than {MIN_HELD_OUT}, a verdict would tell too much about each."
    if smallest is None:
        return f"{count} items are held out, which can show no difference with power 0.8."
    return f"{count} items are held out, which show a difference of {smallest:g} or more with power 0.8."


def _plans(case: _Case) -> list[NextStep]:
    add = add_items_step(case.dataset.name, "Add items: their share is set aside too.")
    smallest = case.size.smallest if len(case.items) >= MIN_HELD_OUT else None
    return [add] if smallest is None else [_again(case, "Ask for what they can show.", min_delta=smallest), add]


def _planned(ws: Workspace, case: _Case) -> ConfirmAnswer:
    """Say what a look could show; of one that was begun, what was stated."""
    answer = _describe(ws, case)
    if case.is_begun:
        steps = [_again(case, "Go on, or read the verdict.", min_delta=case.min_delta)]
        return answer.model_copy(update={"reason": "It has been begun.", "next": steps})
    smallest = case.size.smallest or 1.0
    needed = items_to_show(case.measured.result, smallest, levels_of(answer.look))
    changes = {"min_delta": smallest, "items_needed": needed}
    return answer.model_copy(update={"reason": _what_can_be_shown(case), "next": _plans(case), **changes})


async def _begin(ws: Workspace, case: _Case) -> list[Launch | RunFolder]:
    """Launch what is not complete of both runs; return what is at work."""
    running: list[Launch | RunFolder] = []
    starts: list[Start] = []
    for confirmation, record in case.plans:
        name = confirmation.run_name
        folder = await _folder(ws, case, confirmation)
        if folder.has_started() and folder.is_running():
            running.append(folder)
            continue
        if case.looks.find(confirmation) is not None:
            known = await read_recorded_run(ws, case.dataset.name, name, held_out=True)
            if not _needs_work(known, here=folder.has_started()):
                continue
            if not folder.has_started():
                raise UsageError(
                    f"The confirmation was begun on another machine, and is {known.status} there: call confirm_run "
                    "there to go on."
                )
        asked = _Asked(case.request, name, case.request.cancelled_by)
        starts.append(Start(name, asked, partial(_launch, ws, case, confirmation, record)))
    return [*running, *(await begin_together(ws, case.dataset, starts) if starts else [])]


async def _folder(ws: Workspace, case: _Case, confirmation: Confirmation) -> RunFolder:
    return ws.runs.folder(await ws.gateway.experiments.id_of(case.dataset.id, confirmation.run_name))


def _needs_work(record: RunRecord, *, here: bool) -> bool:
    """Whether something is left to do: a failed task is final unless all failed, a failed judge is not."""
    succeeded = [item for item in record.items if item.status == "succeeded"]
    return record.status != "completed" or (here and (not succeeded or any(item.unscored for item in succeeded)))


async def _launch(
    ws: Workspace, case: _Case, confirmation: Confirmation, record: RunRecord, together: Together, launch: Launch
) -> None:
    ws.runs.prepare()
    folder = await _folder(ws, case, confirmation)
    if folder.has_started():
        await released_state(ws, folder, confirmation.run_name, case.dataset.name)
        prepared = PreparedRun(folder, folder.run_spec(), None, is_new=False)
    else:
        plan = await plan_run(ws, case.measured, record, confirmation, case.items, case.request.cancelled_by)
        prepared = PreparedRun(folder, plan, case.items)
    await launch_prepared(ws, launch, prepared, None, together)


async def _answer(ws: Workspace, case: _Case, begun: Sequence[Launch | RunFolder]) -> ConfirmAnswer:
    """Answer with the verdict if both runs are complete, else with how they stand."""
    case = replace(case, looks=await read_looks(ws, case.dataset))
    folders = [await _folder(ws, case, one) for one, _ in case.plans]
    answer = _describe(ws, case)
    is_loading = any(isinstance(one, Launch) and one.folder is None for one in begun)
    if is_loading or any(folder.has_started() and folder.is_running() for folder in folders):
        stop = {"dataset": case.dataset.name, "run_name": case.request.cancelled_by}
        steps = [_again(case, "Wait for the verdict."), NextStep("cancel_run", {**stop}, "Cancel; the look counts.")]
        progress = progress_of_all(ws, begun)
        reason = f"Both run over the held-out items: {Progress(progress.done, progress.total)}."
        return answer.model_copy(update={"status": "running", "reason": reason, "next": steps})
    names = [one.run_name for one, _ in case.plans]
    pair = await read_pair(ws, case.dataset.name, names, held_out=True)
    status = next((each.record.status for each in (pair.baseline, pair.run) if each.record.status != "completed"), None)
    if status is not None:
        reason = "The runs over the held-out items did not come to their end, so there is no verdict."
        steps = [_again(case, "Go on with what is left.")]
        return answer.model_copy(update={"status": status, "reason": reason, "next": steps})
    found = _verdict(case, pair)
    for folder, each in zip(folders, (pair.baseline, pair.run), strict=True):
        await anyio.to_thread.run_sync(_forget, folder, each.record)
    figures = {name: getattr(found, name) for name in HeldOutVerdict.__dataclass_fields__}
    return answer.model_copy(update={"status": "completed", **figures})


def _verdict(case: _Case, pair: RunPair) -> HeldOutVerdict:
    """The verdict on a run's held-out results, if the score is what it was when the run was chosen."""
    measured = case.measured
    for run in (pair.baseline, pair.run):
        how = run.interpretations.get(measured.score)
        if how is not None and not all(maker.label == case.run.judged_by for maker in how.makers):
            return HeldOutVerdict("inconclusive", f"{measured.score!r} is not by {case.run.judged_by} there.")
    unfair = [issue for issue in find_issues(pair) if issue.unfair and issue.score in (None, measured.score)]
    if unfair or not all(run.has_scale(measured.score) for run in (pair.baseline, pair.run)):
        return HeldOutVerdict("inconclusive", "The two runs over the held-out items cannot be compared fairly.")
    levels = levels_of(case.looks.number(case.run))
    return decide(pair, measured.score, case.min_delta, levels)


def _forget(folder: RunFolder, record: RunRecord) -> None:
    """Delete what this machine has of held-out items, once Langfuse has all of it."""
    if folder.has_started() and not any(item.unscored for item in record.items) and not folder.has_undelivered():
        folder.delete()


def _describe(ws: Workspace, case: _Case) -> ConfirmAnswer:
    return ConfirmAnswer(
        status="planned",
        backend=str(ws.gateway.backend),
        score_name=case.measured.score,
        reason="",
        look=case.looks.number(case.run),
        held_out=len(case.items),
        items_needed=case.size.needed,
        min_delta=case.min_delta,
        code={record.run_name: _version(record) for _, record in case.plans},
        warnings=_warnings(case),
    )


def _version(record: RunRecord) -> str:
    return (record.provenance.task_version if record.provenance else None) or "unknown"


def _warnings(case: _Case) -> list[str]:
    warnings = []
    asked, stated = case.request.min_delta, case.run.min_delta
    if case.is_begun and asked is not None and asked != stated:
        warnings.append(f"min_delta stays {stated:g}, as it was stated before the items were run.")
    declared = case.dataset.holdout.declared if case.dataset.holdout else None
    runs = (record for _, record in case.plans)
    before = [record.run_name for record in runs if declared and record.created and record.created < declared]
    if before:
        warnings.append(
            f"Seen before: {' and '.join(map(repr, before))} began before the holdout was declared, and went over its "
            "items too. This confirms nothing that was chosen by them; items added since are unseen."
        )
    return warnings


def _again(case: _Case, why: str, **changes: JsonValue) -> NextStep:
    """Propose this very call."""
    asked = case.request.model_copy(update=changes)
    return NextStep("confirm_run", asked.model_dump(mode="json", exclude_defaults=True), why)


def _coarse(on_progress: OnProgress | None) -> OnProgress | None:
    """Report only how many results there are: not how many failed, nor which take long."""
    if on_progress is None:
        return None

    async def report(progress: Progress) -> None:
        await on_progress(Progress(progress.done, progress.total))

    return report
