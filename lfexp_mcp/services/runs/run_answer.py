"""Describing a run as an answer."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.answers.run import ModelUse, RunAnswer, RunProgress, StoppingAnswer, total_cost
from lfexp_mcp.errors import StateError, UnreachableError, UnreadError
from lfexp_mcp.gateway import ModelPrice
from lfexp_mcp.judges.prices import PriceTable, open_prices
from lfexp_mcp.model import NextStep, Progress, RunRecord, RunSpec, RunStatus
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.scores.warnings import nothing_scores
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.next_steps import list_runs_step, resume_step, run_step, running_steps
from lfexp_mcp.services.run_cache import RunSummary
from lfexp_mcp.services.runs.follower import Follower
from lfexp_mcp.services.runs.held_out import may_have_held_out
from lfexp_mcp.services.runs.local_runs import read_journal
from lfexp_mcp.services.runs.outdated_judges import OutdatedJudge, outdated_judges_of
from lfexp_mcp.services.runs.read_run import named
from lfexp_mcp.services.runs.run_summary import summarise_in_time
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.sequential import METHOD

S = TypeVar("S", bound=RunProgress)

PRICES_PATIENCE_S = 2.0
"""How long Langfuse may take to tell its prices; costs are unknown without them."""
RESCORED_LIMITS = {"max_concurrency", "max_cost"}
"""Limits that a proposed scoring names again, since no run keeps them for the next call."""
RESUMED_LIMITS = {"max_concurrency", "item_timeout", "task_retries", "fail_on_error", "max_cost"}
READING_DATASET = "The run is being prepared: its dataset and judges are being read from Langfuse. No item has started."
STARTING_WORKER = "The run is being prepared: its worker process is starting. No item has started."
NOT_BEGUN = "The run was cancelled before it started; nothing was run or stored."


async def describe_journal(ws: Workspace, folder: RunFolder, until: float = math.inf) -> RunAnswer:
    """Describe a run of this machine by its journal.

    Args:
        folder: The run's.
        until: When the answer is due, on anyio's clock; what takes longer to read is reported as unknown.

    Raises:
        StateError: The folder cannot be read.
    """
    try:
        record = await named(ws, await read_journal(ws, folder, until))
        return await describe_run(ws, record, await summarise_in_time(ws, record, until))
    except UnreadError as unread:
        return await describe_unread(ws, folder, unread)


async def describe_unread(ws: Workspace, folder: RunFolder, unread: UnreadError) -> RunAnswer:
    """Describe a run of this machine that was not read in time: what it is, and that its results are unknown yet."""
    replay = ws.replays.of(folder)
    follower, run_spec, status = Follower(replay), folder.run_spec(), folder.status()
    is_known = replay.is_current and not await may_have_held_out(ws, run_spec)
    ended, failed = len(replay.state.ended), replay.state.failed_count
    return RunAnswer(
        status=status,
        backend=str(ws.gateway.backend),
        dataset=run_spec.dataset_name,
        run_name=run_spec.run_name,
        experiment_id=run_spec.experiments[0].id,
        experiment_url=await ws.gateway.experiment_url(run_spec.experiments[0].id, run_spec.project_id),
        description=run_spec.description,
        total_items=run_spec.total_items,
        repeats=run_spec.repeats,
        succeeded=ended - failed if is_known else None,
        failed=failed if is_known else None,
        pending=run_spec.total_items - ended if is_known else None,
        progress=str(follower.progress()) if is_known and status == "running" else None,
        replayed=run_spec.is_replay,
        warnings=[f"Results and scores are not known yet. {unread}"],
        log=str(folder.log_path) if folder.has_log() and is_known else None,
        next=[*unread.next],
    )


async def describe_run(ws: Workspace, record: RunRecord, summary: RunSummary) -> RunAnswer:
    """Describe a run: its counts, scores and failures, what its folder on this machine adds, and what to do next.

    Args:
        record: The run as it was read.
        summary: Of its results.
    """
    follower: Follower | None = None
    undelivered = 0
    # If the folder cannot be read, the record is from Langfuse and says so.
    with suppress(StateError):
        folder = ws.runs.find(record.experiment_ids[0])
        if folder is None:
            # Others may have given the run an id of their own.
            folder = ws.runs.find(await ws.gateway.experiments.id_of(record.dataset_id, record.run_name))
        if folder is not None:
            replay = ws.replays.of(folder)
            follower, undelivered = Follower(replay), await anyio.to_thread.run_sync(replay.undelivered)
    is_running = record.status == "running" and not record.leaves_out
    models = await _models(ws, record)
    outdated = await outdated_judges_of(ws, record) if record.status != "running" else []
    return RunAnswer(
        status=record.status,
        backend=str(ws.gateway.backend),
        dataset=record.dataset,
        run_name=record.run_name,
        experiment_id=record.experiment_ids[0],
        experiment_url=await ws.gateway.experiment_url(
            record.experiment_ids[0], follower.run_spec.project_id if follower else None
        ),
        description=record.description,
        part=record.part_shown,
        params=record.provenance.params if record.provenance else None,
        total_items=record.total_items,
        repeats=len(record.experiment_ids),
        succeeded=(succeeded := summary.counts["succeeded"]),
        failed=(failed := summary.counts["failed"]),
        pending=max(record.total_items - succeeded - failed, 0),
        undelivered=undelivered,
        replayed=record.is_replayed,
        progress=str(follower.progress()) if follower and is_running else None,
        scoring=record.scoring,
        scores=summary.scores,
        repeated_scores=summary.repeated_scores,
        run_scores={score.name: score.value for score in record.run_scores},
        evaluators=summary.evaluators,
        models=models,
        cost_usd=total_cost(models),
        errors=summary.errors,
        stopping=_stopping(record),
        warnings=[*record.warnings, *summary.warnings, *(judge.advice for judge in outdated)],
        # What was printed may be of any item.
        log=str(follower.folder.log_path) if follower and follower.folder.has_log() and not record.leaves_out else None,
        next=_next_steps(record, undelivered, follower, outdated),
    )


def _stopping(record: RunRecord) -> StoppingAnswer | None:
    rule = record.plan.stopping if record.plan else None
    if rule is None:
        return None
    verdict = record.looks[-1].verdict if record.looks else None
    done = sum(item.status != "pending" for item in record.items)
    saved = max(record.total_items - done, 0) if record.status == "stopped" else 0
    calls = sum(usage.calls for usage in record.model_usage.values())
    ahead = () if verdict or record.status == "completed" else rule.sizes[len(record.looks) : -1]
    return StoppingAnswer(
        baseline=rule.baseline,
        score=rule.score,
        min_delta=rule.min_delta,
        verdict=verdict,
        looks=[look.describe(rule) for look in record.looks],
        next_look=next(iter(ahead), None),
        items_saved=saved,
        calls_saved=round(calls / done * saved) if calls and done else None,
        method=METHOD,
    )


def combine_progress(kind: type[S], run_name: str, states: Sequence[RunProgress]) -> S:
    """Describe several runs together: their counts added up, and what all have.

    Args:
        kind: Of the description.
        run_name: What they are called together.
        states: Those of the runs.
    """
    order: tuple[RunStatus, ...] = ("running", "unknown", "failed", "cancelled", "stopped", "completed")
    first = states[0]
    return kind(
        status=min((state.status for state in states), key=order.index),
        backend=first.backend,
        dataset=first.dataset,
        run_name=run_name,
        part=first.part,
        total_items=sum(state.total_items for state in states),
        succeeded=_total(state.succeeded for state in states),
        failed=_total(state.failed for state in states),
        pending=_total(state.pending for state in states),
        undelivered=sum(state.undelivered for state in states),
        warnings=[f"{state.run_name}: {warning}" for state in states for warning in state.warnings],
    )


def _total(counts: Iterable[int | None]) -> int | None:
    """Add counts up; None if one is not known."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


def describe_launch(ws: Workspace, launch: Launch, *, cancelled: bool = False) -> RunAnswer:
    """Describe a run that no worker has yet: it is being prepared, or was cancelled before it started."""
    run_spec = launch.run_spec
    progress = launch_progress(launch)
    return RunAnswer(
        status="cancelled" if cancelled else "running",
        backend=str(ws.gateway.backend),
        dataset=launch.dataset,
        run_name=launch.run_name,
        experiment_id=run_spec.experiments[0].id if run_spec else None,
        total_items=progress.total,
        succeeded=0,
        failed=0,
        pending=progress.total,
        progress=None if cancelled else str(progress),
        warnings=[NOT_BEGUN if cancelled else STARTING_WORKER if run_spec else READING_DATASET],
        next=[] if cancelled else running_steps(launch.dataset, launch.run_name),
    )


def launch_progress(launch: Launch) -> Progress:
    """Return the progress of a run that no worker has yet; its total is 0 while the dataset is being read."""
    total = launch.run_spec.total_items if launch.run_spec else 0
    return Progress(done=0, total=total)


async def _models(ws: Workspace, record: RunRecord) -> list[ModelUse]:
    if not record.model_usage:
        return []
    rows: list[ModelPrice] | None = None
    with anyio.move_on_after(PRICES_PATIENCE_S), suppress(UnreachableError):
        rows = await ws.gateway.model_prices()
    # Without Langfuse's prices, from which those of a library may differ, costs are unknown.
    prices = PriceTable([]) if rows is None else await open_prices(rows, {user.model for user in record.model_usage})
    return [
        ModelUse(
            name=user.name,
            role=user.role,
            model=user.model,
            calls=used.calls,
            batched=used.batched,
            retries=used.retries,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            seconds_per_call=round(used.seconds / max(used.calls - used.retries - used.batched, 1), 3),
            cost_usd=prices.cost(user.model, used),
            price_source=price.source if (price := prices.price_of(user.model)) else None,
        )
        for user, used in record.model_usage.items()
    ]


def _next_steps(
    record: RunRecord, undelivered: int, follower: Follower | None, outdated: Sequence[OutdatedJudge]
) -> list[NextStep]:
    if record.status == "running":
        return running_steps(record.dataset, record.run_name)
    steps = []
    run_spec = follower.run_spec if follower else None
    scorer = follower.state.scorer if follower else None
    again = scorer.provenance.plan.makers if scorer and scorer.provenance.plan else ()
    failures = [one for item in record.items for one in item.unscored if one.name not in record.older_scores]
    of_scoring = [one for one in failures if any(maker.is_same(one.maker) for maker in again)]
    rule = record.plan.stopping if record.plan else None
    if record.status == "stopped" and rule is not None:
        compared: dict[str, JsonValue] = {"dataset": record.dataset, "runs": [rule.baseline, record.run_name]}
        why = "See the verdict of the stop, with its interval."
        steps.append(NextStep("compare_runs", {**compared, "primary_score": rule.score}, why))
    if follower and record.scoring is not None and (record.scoring != "completed" or of_scoring):
        steps += _score_steps(record, follower.folder.scoring())
    bare = nothing_scores(record)
    # A run that may be running on another machine is not to be resumed here.
    has_failed = any(item.status == "failed" for item in record.items)
    if record.status != "unknown" and (
        record.status != "completed" or undelivered or bare or has_failed or len(failures) > len(of_scoring)
    ):
        steps.append(_resume_step(record, run_spec, _judges_to_name(record, outdated), bare=bare))
    if outdated:
        why, newer = "Score all results with the latest versions.", [judge.reference for judge in outdated]
        steps.append(run_step("score_run", record.dataset, record.run_name, why, judges=[*newer]))
    if has_failed or any(item.bare_scores or item.unscored for item in record.items):
        why = "See the errors by kind." if bare else "See the failures, lowest scores first."
        steps.append(run_step("analyze_run", record.dataset, record.run_name, why, show_failures=True))
    if record.status == "completed" and record.part_shown is not None:
        arguments = {**_kept_by_no_resume(run_spec), "items": "all"}
        steps.append(resume_step(record.dataset, record.run_name, arguments, "Go on to the rest of the dataset."))
    return [*steps, list_runs_step(record.dataset, "See which runs there are to compare this one with.")]


def _judges_to_name(record: RunRecord, outdated: Sequence[OutdatedJudge]) -> list[JsonValue]:
    """The judges that a resume has to name if some of them have newer versions, else none."""
    instead = {judge.name: judge.reference for judge in outdated}
    if not instead or record.plan is None:
        return []
    return [instead.get(judge.prompt, f"{judge.prompt}:{judge.version}") for judge in record.plan.judges.values()]


def _score_steps(record: RunRecord, scoring: RunSpec | None) -> list[NextStep]:
    """Propose to go on with a scoring."""
    if scoring is None:
        return []
    arguments: dict[str, JsonValue] = {}
    if scoring.judges:
        arguments["judges"] = [f"{judge.name}:{judge.version}" for judge in scoring.judges]
    if scoring.evaluator_script:
        arguments["evaluator_script"] = str(scoring.evaluator_script)
    if scoring.evaluators:
        arguments["evaluators"] = [{**each.options, "name": each.name} for each in scoring.evaluators]
    arguments |= scoring.limits.model_dump(mode="json", exclude_defaults=True, include=RESCORED_LIMITS)
    why = "Go on with the scoring: only what it has not scored is scored."
    return [run_step("score_run", record.dataset, record.run_name, why, **arguments)]


def _resume_step(record: RunRecord, run_spec: RunSpec | None, judges: list[JsonValue], *, bare: bool) -> NextStep:
    """Propose a resume with what it does not keep by itself: the limits, and all of a run of another machine."""
    why = "Resume: run what is missing or failed, score what is not, send what Langfuse has not acknowledged."
    if record.status == "stopped":
        why = "Go on to the items that are left. The verdict of the stop stands."
    if run_spec is None:
        why += " It was started on another machine: name the scripts and judges that it had."
    arguments = _kept_by_no_resume(run_spec)
    if judges:
        arguments["judges"] = judges
    if bare:
        arguments["evaluator_script"] = "<path>.py"
        why += " With an evaluator script, or `judges`, it is scored."
    return resume_step(record.dataset, record.run_name, arguments, why)


def _kept_by_no_resume(run_spec: RunSpec | None) -> dict[str, JsonValue]:
    """The arguments that a resume has to name again."""
    if run_spec is None:
        return {"task_script": "<path>.py"}
    # The time-out of the whole run is left out: it may be why the run ended.
    arguments = run_spec.limits.model_dump(mode="json", exclude_defaults=True, include=RESUMED_LIMITS)
    return arguments | ({"python": str(run_spec.python)} if run_spec.python else {})
