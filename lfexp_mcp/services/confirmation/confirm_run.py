"""Confirming a run: its code and its baseline's run over the held-out items, which give one verdict."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial

import anyio
import anyio.to_thread

from lfexp_mcp.answers.comparison import ConfirmAnswer
from lfexp_mcp.errors import LfexpError, StateError, UsageError
from lfexp_mcp.model import Confirmation, NextStep, Progress, RunRecord, RunStatus
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.comparison.comparability import find_issues
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.confirmation.case import (
    Case,
    check_size,
    levels_of,
    plan_run,
    plans_of,
    read_case,
    read_looks,
    what_can_be_shown,
)
from lfexp_mcp.services.confirmation.measured import read_pair
from lfexp_mcp.services.confirmation.verdict import HeldOutVerdict, decide
from lfexp_mcp.services.experiments.preparation import PreparedRun, released_state
from lfexp_mcp.services.experiments.run_experiment import estimate_from, launch_prepared
from lfexp_mcp.services.experiments.together import Start, begin_together, progress_of_all, wait_for_all
from lfexp_mcp.services.launches import Launch, StartGate
from lfexp_mcp.services.requests import ConfirmRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.runs.read_run import read_recorded_run
from lfexp_mcp.services.spending import check_spending, shown_name
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import items_to_show

MAX_APART = timedelta(hours=1)
"""How far apart both runs may begin without a warning."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a launch is for."""

    request: ConfirmRequest
    run_name: str
    variant_of: str


async def confirm_run(
    ws: Workspace,
    request: ConfirmRequest,
    *,
    wait_seconds: float = 45,
    on_progress: OnProgress | None = None,
    agreed: Collection[str] | None = None,
) -> ConfirmAnswer:
    """Run the code of a run and of its baseline over the held-out items, and give one verdict.

    Both are ordinary runs with names of their own, so that they go on when the wait is over or this process dies, and
    the same call goes on with them. What has been run is not run again: neither for the same question, nor the baseline
    for another run. The verdict accounts for all looks at these items that Langfuse knows of.

    Args:
        wait_seconds: How long to wait for the end.
        on_progress: Called with how many results there are.
        agreed: See `check_spending`.

    Raises:
        ConfirmationError: The user has to agree to the cost first.
        NotFoundError: There is no such dataset, run or score.
        UsageError: Nothing is held out, too little for `min_delta`, or the runs cannot be compared or run again.
        ScriptError: The code is not what was measured.
        WorkerError: A worker could not start.
        StateError: The runs' folder cannot be used.
        BackendError: Langfuse did not answer.
    """
    deadline = anyio.current_time() + wait_seconds
    case = await read_case(ws, request)
    if request.min_delta is None:
        return _planned(ws, case)
    if not case.is_begun:
        check_size(case)
        names = (request.run_name, request.baseline, request.dataset)
        what = "Run {} and {} over the held-out items of dataset {}.".format(*map(shown_name, names))
        await check_spending(ws, agreed, "confirm_run", request, what, partial(_cost, ws, case))
    begun = await _begin(ws, case)
    try:
        await wait_for_all(ws, begun, deadline, _coarse(on_progress))
    except LfexpError as error:
        # The runs are resumed by this call, not as others are.
        error.next = (case.again("Try again once that is fixed."),)
        raise
    return await _answer(ws, case, begun)


async def _cost(ws: Workspace, case: Case) -> float | None:
    """Estimate what judges and prompts will cost, by what they did over the items that are shown.

    Raises:
        LfexpError: One of the runs cannot be run again.
    """
    plans = [plan for plan in case.plans if case.looks.find(plan[0]) is None]
    for confirmation, record in plans:
        await plan_run(ws, case, record, confirmation)
    total = 0.0
    for _, record in plans:
        if not record.model_usage and (record.plan is None or record.plan.judges):
            return None
        results = len(case.items) * len(record.experiment_ids)
        cost = (await estimate_from(ws, record, results)).cost_usd
        if cost is None:
            return None
        total += cost
    return total


async def read_confirmation(ws: Workspace, request: ConfirmRequest) -> ConfirmAnswer:
    """Read how a confirmation stands, as `confirm_run` answers, without going on with it.

    Raises:
        LfexpError: As `confirm_run`.
    """
    return await _answer(ws, await read_case(ws, request), [])


def _planned(ws: Workspace, case: Case) -> ConfirmAnswer:
    """Say what a look could show; of one that was begun, what was stated."""
    answer = _describe(ws, case)
    if case.is_begun:
        steps = [case.again("Go on, or read the verdict.", min_delta=case.min_delta)]
        return answer.model_copy(update={"reason": "It has been begun.", "next": steps})
    smallest = case.size.smallest or 1.0
    needed = items_to_show(case.measured.result, smallest, levels_of(answer.look), for_others=True)
    changes = {"min_delta": smallest, "items_needed": needed}
    return answer.model_copy(update={"reason": what_can_be_shown(case), "next": plans_of(case), **changes})


async def _begin(ws: Workspace, case: Case) -> list[Launch | RunFolder]:
    """Launch the runs that are incomplete; return the runs that are running."""
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


async def _folder(ws: Workspace, case: Case, confirmation: Confirmation) -> RunFolder:
    return ws.runs.folder(await ws.gateway.experiments.id_of(case.dataset.id, confirmation.run_name))


def _needs_work(record: RunRecord, *, here: bool) -> bool:
    """Whether something is left to do: a failed task is final unless all failed, a failed judge is not."""
    succeeded = [item for item in record.items if item.status == "succeeded"]
    return record.status != "completed" or (here and (not succeeded or any(item.unscored for item in succeeded)))


async def _launch(
    ws: Workspace, case: Case, confirmation: Confirmation, record: RunRecord, launch: Launch, gate: StartGate
) -> None:
    ws.runs.prepare()
    folder = await _folder(ws, case, confirmation)
    if folder.has_started():
        await released_state(ws, folder, confirmation.run_name, case.dataset.name)
        prepared = PreparedRun(folder, folder.run_spec(), None, is_new=False)
    else:
        plan = await plan_run(ws, case, record, confirmation)
        prepared = PreparedRun(folder, plan, case.items)
    await launch_prepared(ws, launch, prepared, None, gate)


async def _answer(ws: Workspace, case: Case, begun: Sequence[Launch | RunFolder]) -> ConfirmAnswer:
    """Answer with the verdict if both runs are complete, else with how they stand."""
    try:
        return await _read_answer(ws, case, begun)
    except StateError:
        # An equal call may have answered, and deleted the folders that this one was reading: Langfuse has the results.
        return await _read_answer(ws, case, begun)


async def _read_answer(ws: Workspace, case: Case, begun: Sequence[Launch | RunFolder]) -> ConfirmAnswer:
    case = replace(case, looks=await read_looks(ws, case.dataset))
    folders = [await _folder(ws, case, one) for one, _ in case.plans]
    answer = _describe(ws, case)
    is_loading = any(isinstance(one, Launch) and one.folder is None for one in begun)
    if is_loading or any(folder.has_started() and folder.is_running() for folder in folders):
        stop = {"dataset": case.dataset.name, "run_name": case.request.cancelled_by}
        steps = [case.again("Wait for the verdict."), NextStep("cancel_run", {**stop}, "Cancel; the look counts.")]
        progress = progress_of_all(ws, begun)
        reason = f"Both run over the held-out items: {Progress(progress.done, progress.total)}."
        return answer.model_copy(update={"status": "running", "reason": reason, "next": steps})
    names = [one.run_name for one, _ in case.plans]
    # From Langfuse, so that any machine comes to the same verdict.
    pair = await read_pair(ws, case.dataset.name, names, held_out=True)
    records = (pair.baseline.record, pair.run.record)
    if (unfinished := _unfinished(records)) is not None:
        steps = [case.again("Go on with what is left.")]
        return answer.model_copy(update={"status": unfinished[0], "reason": unfinished[1], "next": steps})
    found = _verdict(case, pair)
    for folder, record in zip(folders, records, strict=True):
        await anyio.to_thread.run_sync(_forget, folder, record)
    warnings = [*answer.warnings, *_differences(case, records)]
    return answer.model_copy(update={"status": "completed", "warnings": warnings, **asdict(found)})


def _unfinished(records: Sequence[RunRecord]) -> tuple[RunStatus, str] | None:
    """Why there is no verdict yet: what failed of a run is not said, since it may quote an item."""
    for record in records:
        if record.status != "completed":
            return record.status, "The runs over the held-out items did not finish: there is no verdict."
        if all(item.status != "succeeded" for item in record.items):
            name = record.provenance.confirmation.of if record.provenance and record.provenance.confirmation else ""
            return "failed", f"No task of run {name!r} succeeded there. Fix what it needs here: there is no verdict."
    return None


def _differences(case: Case, records: Sequence[RunRecord]) -> Iterator[str]:
    """What else differs from what was measured, or between the two runs."""
    for (_, measured), record in zip(case.plans, records, strict=True):
        then, now = (one.provenance.packages or {} if one.provenance else {} for one in (measured, record))
        changed = [
            f"{name} {then[name]} -> {now[name]}"
            for name in sorted(then.keys() & now.keys())
            if then[name] != now[name]
        ]
        if changed:
            yield f"Packages have changed since run {measured.run_name!r} was measured: {', '.join(changed)}."
    first, second = (record.created for record in records)
    if first is not None and second is not None and second - first > MAX_APART:
        yield f"The baseline ran over the held-out items on {first:%Y-%m-%d}, for an earlier look."


def _verdict(case: Case, pair: RunPair) -> HeldOutVerdict:
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


def _describe(ws: Workspace, case: Case) -> ConfirmAnswer:
    return ConfirmAnswer(
        status="planned",
        backend=str(ws.gateway.backend),
        score_name=case.measured.score,
        reason="",
        look=case.looks.number(case.run),
        held_out=case.held_out,
        items_needed=case.size.needed,
        min_delta=case.min_delta,
        code={
            record.run_name: (record.provenance.task_version if record.provenance else None) or "unknown"
            for _, record in case.plans
        },
        warnings=_warnings(case),
    )


def _warnings(case: Case) -> list[str]:
    warnings = []
    asked, stated = case.request.min_delta, case.run.min_delta
    if case.is_begun and asked is not None and asked != stated:
        warnings.append(f"min_delta stays {stated:g}, as it was stated before the items were run.")
    if case.looks.runs_before:
        warnings.append(
            f"Seen before: runs began before the holdout was declared ({case.looks.runs_before}), and went over its "
            "items except those added since. Nothing that was chosen by them is confirmed by this."
        )
    return warnings


def _coarse(on_progress: OnProgress | None) -> OnProgress | None:
    """Report only how many results there are: not how many failed, nor which take long."""
    if on_progress is None:
        return None

    async def report(progress: Progress) -> None:
        await on_progress(Progress(progress.done, progress.total))

    return report
