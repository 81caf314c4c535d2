"""Put together the parts of a run that execute its items."""

from collections.abc import Sequence
from pathlib import Path

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.judges.model_client import ModelClient
from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import ResolvedJudge, ResolvedTaskPrompt
from lfexp_mcp.runs.events import Warned
from lfexp_mcp.scripts import Task
from lfexp_mcp.worker.batches import batch_secret
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.early_stopping import EarlyStopping
from lfexp_mcp.worker.engine import Engine, LocalEngine
from lfexp_mcp.worker.evaluation import ItemEvaluation, RunEvaluation
from lfexp_mcp.worker.execution import Execution
from lfexp_mcp.worker.item_evaluators import ItemEvaluator, JudgeEvaluator, PairEvaluator, ScriptItemEvaluator
from lfexp_mcp.worker.loading import LoadedRun
from lfexp_mcp.worker.model_calls import UsageLedger, prompt_task, trace_judges
from lfexp_mcp.worker.provenance import digests
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.sharing import SharedPlaces
from lfexp_mcp.worker.stopping import ErrorPolicy, Stop
from lfexp_mcp.worker.task_runner import CallTask, TaskRunner
from lfexp_mcp.worker.traces import TaskTraces
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import UserCode, UserLoop

MAX_THREADS = 256
"""For evaluators; the task has as many as items may run at once."""


def assemble(
    run: LoadedRun,
    *,
    tracer: RunTracer,
    recorder: Recorder,
    delivery: Delivery,
    models: ModelClient,
    prices: PriceTable,
    ledger: UsageLedger,
    stop: Stop,
    gateway: Gateway,
    together: Sequence[Path] = (),
) -> Execution:
    """Return what executes a run's items."""
    run_spec, limits = run.run_spec, run.run_spec.limits

    def warn(text: str) -> None:
        recorder.note(Warned(text=text))

    loop = UserLoop()
    calls = max(len(run.evaluators), 1) * limits.max_concurrency
    user_code = UserCode(min(calls, MAX_THREADS), loop)
    call: CallTask | None = None
    task: Task | None = None
    if isinstance(run.task, ResolvedTaskPrompt):
        call = prompt_task(run.task, models, tracer.client, run_spec, stop, ledger)
    else:
        task = run.task
    local = LocalEngine(run_spec, task, UserCode(limits.max_concurrency, loop), user_code)
    looking = (*(judge.takes_trace for judge in run_spec.judges), *(each.takes_trace for each, _ in run.evaluators))
    tracer.keeps_spans = any(looking)
    engine: Engine = local
    if run.cluster is not None:
        # Only runs on a cluster import Ray.
        from lfexp_mcp.worker.on_ray.engine import open_engine

        engine = open_engine(
            run.cluster,
            local,
            digests(),
            warn=warn,
            take_spans=run.outbox.append,
            evaluates=any(each.built_in is None for each, _ in run.evaluators),
            is_async=task.is_async if task else all(each.is_async for each, _ in run.evaluators),
            keeps_spans=tracer.keeps_spans,
        )
    if task is not None:
        call = engine.run_task
    recorded = run.models.nonce_key if run.models is not None else None
    secret = batch_secret(run.folder) if run_spec.batch else recorded
    runner = JudgeRunner(models, trace_judges(tracer.client, prices), ledger.add_judge, secret)
    traces = TaskTraces(gateway, recorder, limits.visibility_delay, measured=not run_spec.is_replay)
    evaluators: list[ItemEvaluator] = [
        *(_judge_evaluator(judge, runner, stop, traces, run) for judge in run_spec.judges),
        *(
            ScriptItemEvaluator(evaluator, makers, engine, traces, is_replay=run_spec.is_replay, again=run.scores_only)
            for evaluator, makers in run.evaluators
        ),
    ]
    run_evaluation = RunEvaluation(
        run_spec, run.run_evaluators, user_code, recorder, delivery, run.state.run_scored if run.scores_only else None
    )
    run_evaluation.add_earlier(run.run_spec.open_items(run.items()), run.state)
    return Execution(
        folder=run.folder,
        limits=limits,
        log=run.log,
        tasks=TaskRunner(call, run.provenance.task_version, limits.task_retries, tracer, recorder) if call else None,
        evaluation=ItemEvaluation(run_spec, evaluators, tracer, recorder, delivery, scores_only=run.scores_only),
        run_evaluation=run_evaluation,
        recorder=recorder,
        stop=stop,
        policy=ErrorPolicy(limits.fail_on_error, run_spec.total_items, stop, warn),
        engine=engine,
        early=EarlyStopping(run, recorder, stop),
        shared=SharedPlaces(run.folder, together, limits.max_concurrency) if together else None,
    )


def _judge_evaluator(
    judge: ResolvedJudge, runner: JudgeRunner, stop: Stop, traces: TaskTraces, run: LoadedRun
) -> ItemEvaluator:
    if judge.against is None:
        return JudgeEvaluator(judge, runner, stop, traces)
    return PairEvaluator(judge, runner, stop, run.folder.outputs_against())
