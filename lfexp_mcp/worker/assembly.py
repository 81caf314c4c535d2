"""Put together the parts of a run that execute its items."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.judges.model_client import ModelClient
from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import ResolvedPrompt
from lfexp_mcp.runs.events import Warned
from lfexp_mcp.scripts import Task
from lfexp_mcp.worker.batches import batch_secret
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.early_stopping import EarlyStopping
from lfexp_mcp.worker.engine import CallTask, Engine, LocalEngine
from lfexp_mcp.worker.evaluation import ItemEvaluation, RunEvaluation
from lfexp_mcp.worker.execution import Execution
from lfexp_mcp.worker.item_evaluators import ItemEvaluator, JudgeEvaluator, PairEvaluator, ScriptItemEvaluator
from lfexp_mcp.worker.loading import LoadedRun
from lfexp_mcp.worker.model_calls import UsageLedger, prompt_task, trace_judges
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.sharing import SharedPlaces
from lfexp_mcp.worker.stopping import ErrorPolicy, Stop
from lfexp_mcp.worker.task_runner import TaskRunner
from lfexp_mcp.worker.traces import TaskTraces
from lfexp_mcp.worker.tracing import RunTracer


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
    announce_last: Callable[[], object],
    together: Sequence[Path] = (),
) -> Execution:
    """Return what executes a run's items."""
    run_spec, limits = run.run_spec, run.run_spec.limits

    def warn(text: str) -> None:
        recorder.note(Warned(text=text))

    item_evaluators = [evaluator for evaluator, _ in run.evaluators]
    local = LocalEngine(run_spec, run.task if isinstance(run.task, Task) else None, item_evaluators)
    looking = (*(judge.takes_trace for judge in run_spec.judges), *(each.takes_trace for each in item_evaluators))
    tracer.keeps_spans = any(looking)
    engine: Engine = local
    if run.cluster is not None:
        engine = run.cluster.open(local, warn=warn, take_spans=run.outbox.append, keeps_spans=tracer.keeps_spans)
    call: CallTask | None = engine.run_task if local.task is not None else None
    if isinstance(run.task, ResolvedPrompt):
        call = prompt_task(run.task, models, tracer.client, run_spec, stop, ledger)
    recorded = run.models.nonce_key if run.models is not None else None
    secret = batch_secret(run.folder) if run_spec.batch else recorded
    runner = JudgeRunner(models, trace_judges(tracer.client, prices), ledger.add_judge, secret)
    traces = TaskTraces(gateway, recorder, limits.visibility_delay, measured=not run_spec.is_replay)
    evaluators = _item_evaluators(run, engine, runner, stop, traces)
    earlier, call_evaluator = run.state.run_scored if run.scores_only else None, local.for_evaluators
    run_evaluation = RunEvaluation(run_spec, run.run_evaluators, call_evaluator, recorder, delivery, earlier)
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
        announce_last=announce_last,
        shared=SharedPlaces(run.folder, together, limits.max_concurrency) if together else None,
    )


def _item_evaluators(
    run: LoadedRun, engine: Engine, runner: JudgeRunner, stop: Stop, traces: TaskTraces
) -> list[ItemEvaluator]:
    run_spec = run.run_spec
    return [
        *(
            JudgeEvaluator(judge, runner, stop, traces)
            if judge.against is None
            else PairEvaluator(judge, runner, stop, run.folder.outputs_against())
            for judge in run_spec.judges
        ),
        *(
            ScriptItemEvaluator(evaluator, makers, engine, traces, is_replay=run_spec.is_replay, again=run.scores_only)
            for evaluator, makers in run.evaluators
        ),
    ]
