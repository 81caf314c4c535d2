"""From a run's record to the answer that tools and shell give of it."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

import anyio
from pydantic import JsonValue

from lfexp_mcp.answers.run import ItemError, ModelUse, Progress, RunAnswer
from lfexp_mcp.errors import UnreachableError
from lfexp_mcp.gateway import ModelPrice
from lfexp_mcp.judges.prices import PriceTable, open_prices
from lfexp_mcp.model import EvaluatorInfo, ItemResult, JudgeMaker, NextStep, RunRecord, RunSpec
from lfexp_mcp.scores.interpretation import ScoreInterpretation, interpret_scores
from lfexp_mcp.scores.warnings import nothing_scores, run_warnings
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.next_steps import list_runs_step, resume_step, running_steps
from lfexp_mcp.services.runs.follower import Follower
from lfexp_mcp.services.runs.outdated_judges import OutdatedJudge, outdated_judges_of
from lfexp_mcp.services.runs.score_summaries import summarise_repeats, summarise_scores
from lfexp_mcp.services.workspace import Workspace

PRICES_PATIENCE_S = 2.0
ERRORS_SHOWN = 5
ERROR_LENGTH = 300

RESUMED_LIMITS = {"max_concurrency", "item_timeout", "task_retries", "fail_on_error", "max_cost"}
READS_DATASET = "The run is being prepared: its dataset and judges are being read from Langfuse. No item has begun."
WAITS_FOR_WORKER = "The run is being prepared: its worker process is starting. No item has begun."
NOT_BEGUN = "The run was cancelled before it had begun; nothing was run or stored."


async def describe_run(
    ws: Workspace,
    record: RunRecord,
    follower: Follower | None,
    *,
    interpretations: Mapping[str, ScoreInterpretation] | None = None,
) -> RunAnswer:
    """Describe a run: its counts, scores and failures, and what to do next.

    Args:
        ws: The workspace.
        record: The run as it was read.
        follower: Its journal; None for a run of another machine.
        interpretations: How its scores are read; None to work it out, for a journal, whose scores have their scales.
    """
    undelivered = follower.undelivered() if follower else 0
    status = {"succeeded": 0, "failed": 0, "pending": 0}
    for item in record.items:
        status[item.status] += 1
    ended = status["succeeded"] + status["failed"]
    models = await _models(ws, record)
    if interpretations is None:
        interpretations = interpret_scores(record, {})
    newer = await outdated_judges_of(ws, record) if record.status != "running" else []
    return RunAnswer(
        status=record.status,
        backend=ws.gateway.backend,
        dataset=record.dataset,
        run_name=record.run_name,
        experiment_id=record.experiment_ids[0],
        experiment_url=await ws.gateway.experiment_url(
            record.experiment_ids[0], follower.run_spec.project_id if follower else None
        ),
        description=record.description,
        total_items=record.total_items,
        repeats=len(record.experiment_ids),
        succeeded=status["succeeded"],
        failed=status["failed"],
        pending=max(record.total_items - ended, 0),
        undelivered=undelivered,
        progress=follower.progress() if follower and record.status == "running" else None,
        scores=summarise_scores(record, interpretations),
        repeated_scores=summarise_repeats(record, interpretations),
        run_scores={score.name: score.value for score in record.run_scores},
        evaluators=_evaluators(record),
        models=models,
        cost_usd=_total_cost(models),
        judge_cost_usd=_total_cost([use for use in models if use.role == "judge"]),
        task_cost_usd=_total_cost([use for use in models if use.role == "task"]),
        errors=item_errors(record.items)[:ERRORS_SHOWN],
        warnings=[*run_warnings(record, interpretations), *(judge.advice for judge in newer)],
        log=str(follower.folder.log_path) if follower and follower.folder.has_log() else None,
        worker_exit_code=follower.folder.worker.exit_code if follower and record.status == "failed" else None,
        next=_next_steps(record, status["failed"], undelivered, follower.run_spec if follower else None, newer),
    )


def describe_launch(ws: Workspace, start: Launch, *, cancelled: bool = False) -> RunAnswer:
    """Describe a run that no worker has yet: it is being prepared, or was cancelled before it had begun."""
    run_spec = start.run_spec
    return RunAnswer(
        status="cancelled" if cancelled else "running",
        backend=ws.gateway.backend,
        dataset=start.dataset,
        run_name=start.run_name,
        experiment_id=run_spec.experiments[0].id if run_spec else None,
        experiment_url=None,
        total_items=run_spec.total_items if run_spec else 0,
        succeeded=0,
        failed=0,
        pending=run_spec.total_items if run_spec else 0,
        progress=None if cancelled else launch_progress(start),
        scores=[],
        evaluators=[],
        errors=[],
        warnings=[NOT_BEGUN if cancelled else WAITS_FOR_WORKER if run_spec else READS_DATASET],
        next=[] if cancelled else running_steps(start.dataset, start.run_name),
    )


def launch_progress(start: Launch) -> Progress:
    """How far a run has come that no worker has yet; its total is 0 while the dataset is being read."""
    total = start.run_spec.total_items if start.run_spec else 0
    return Progress(done=0, total=total, failed=0, items_per_second=None, seconds_left=None)


def item_errors(items: tuple[ItemResult, ...]) -> list[ItemError]:
    """Return what went wrong, per item: failed tasks first, then evaluators and judges."""
    failed = [ItemError(item_id=item.item_id, error=_cut(item.error)) for item in items if item.error]
    unscored = [
        ItemError(item_id=item.item_id, error=_cut(f"{failure.name}: {failure.error}"))
        for item in items
        for failure in item.unscored
    ]
    return failed + unscored


def _cut(text: str) -> str:
    return text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH]}… ({len(text)} characters)"


def _evaluators(record: RunRecord) -> list[EvaluatorInfo]:
    """The evaluators as the newest worker recorded them, and the judges that scored before; none for runs of others."""
    found = record.provenance.evaluators if record.provenance else ()
    known = {(info.name, info.version, info.model) for info in found}
    makers = dict.fromkeys(score.maker for score in record.scores)
    earlier = [
        EvaluatorInfo.of_judge(maker)
        for maker in makers
        if isinstance(maker, JudgeMaker) and (maker.prompt, maker.version, maker.model) not in known
    ]
    return [*found, *earlier]


async def _models(ws: Workspace, record: RunRecord) -> list[ModelUse]:
    if not record.model_usage:
        return []
    prices = await _prices(ws, record)
    return [
        ModelUse(
            name=user.name,
            role=user.role,
            model=user.model,
            calls=used.calls,
            retries=used.retries,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            seconds_per_call=round(used.seconds / max(used.calls - used.retries, 1), 3),
            cost_usd=prices.cost(user.model, used),
            price_source=price.source if (price := prices.price_of(user.model)) else None,
        )
        for user, used in record.model_usage.items()
    ]


async def _prices(ws: Workspace, record: RunRecord) -> PriceTable:
    """What the run's models cost; unknown where Langfuse's own prices do not come in time, since they may differ."""
    rows: list[ModelPrice] | None = None
    with anyio.move_on_after(PRICES_PATIENCE_S), suppress(UnreachableError):
        rows = await ws.gateway.model_prices()
    return PriceTable([]) if rows is None else await open_prices(rows, {user.model for user in record.model_usage})


def _total_cost(models: list[ModelUse]) -> float | None:
    costs = [model.cost_usd for model in models if model.cost_usd is not None]
    return math.fsum(costs) if models and len(costs) == len(models) else None


def _next_steps(
    record: RunRecord, failed: int, undelivered: int, order: RunSpec | None, newer: Sequence[OutdatedJudge]
) -> list[NextStep]:
    run: dict[str, JsonValue] = {"dataset": record.dataset, "run_name": record.run_name}
    if record.status == "running":
        return running_steps(record.dataset, record.run_name)
    steps = []
    unscored = any(item.unscored for item in record.items)
    bare = nothing_scores(record)
    # One that may be running on another machine is not to be run here as well.
    ended = record.status != "unknown"
    if ended and (record.status in ("failed", "cancelled") or undelivered or unscored or bare):
        steps.append(_resume_step(record, order, _versions_to_ask(record, newer), bare=bare))
    if failed or any(item.scores or item.unscored for item in record.items):
        why = "See the errors by kind." if bare else "See the failures, lowest scores first."
        steps.append(NextStep(tool="analyze_run", arguments={**run, "show_failures": True}, why=why))
    return [*steps, list_runs_step(record.dataset, "See which runs there are to compare this one with.")]


def _versions_to_ask(record: RunRecord, newer: Sequence[OutdatedJudge]) -> list[str]:
    """The judges to name where the version of one scored nothing and has a newer one; else none, which keeps all."""
    asked = {
        (score.maker.prompt, score.maker.version)
        for item in record.items
        for score in item.scores
        if isinstance(score.maker, JudgeMaker)
    }
    instead = {judge.name: judge.reference for judge in newer if (judge.name, judge.version) not in asked}
    plan = record.provenance.plan if record.provenance else None
    if not instead or plan is None:
        return []
    return [instead.get(judge.prompt, f"{judge.prompt}:{judge.version}") for judge in plan.judges.values()]


def _resume_step(record: RunRecord, order: RunSpec | None, judges: list[str], *, bare: bool) -> NextStep:
    """The call that goes on with a run: its order on this machine holds the scripts and judges, but not the limits."""
    why = "Resume: run what is missing or failed, score what is not, send what Langfuse has not acknowledged."
    if order is None:
        known: dict[str, JsonValue] = {"task_script": "<path>.py"}
        why += " It was begun on another machine: name the scripts and judges that it had."
    else:
        # A time-out of the whole run may be why it ended; the resumed one has none unless it is given one.
        kept = order.limits.model_dump(mode="json", exclude_defaults=True, include=RESUMED_LIMITS)
        known = kept | ({"python": str(order.python)} if order.python else {})
    if judges:
        known["judges"] = [*judges]
    if bare:
        known["evaluator_script"] = "<path>.py"
        why += " With an evaluator script, or `judges`, it is scored."
    return resume_step(record.dataset, record.run_name, known, why)
