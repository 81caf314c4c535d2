"""A run at work: execution and delivery side by side, and the end."""

import gc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from lfexp_mcp.errors import BackendError, LfexpError, StateError
from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.models import Models, open_models
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import (
    DatasetItem,
    ModelCaller,
    ModelUsage,
    Provenance,
    ProviderName,
    ResolvedJudge,
    ResolvedTaskPrompt,
    RunPlan,
    RunSpec,
)
from lfexp_mcp.runs.events import Executed, RunEnded, Warned
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.runs.unrecorded import drop_unrecorded
from lfexp_mcp.scripts import EvaluatorSet, Task
from lfexp_mcp.worker import marking
from lfexp_mcp.worker.calling import CallTask, script_caller
from lfexp_mcp.worker.confirmation import Expected
from lfexp_mcp.worker.costs import UsageLedger, open_budget
from lfexp_mcp.worker.declaring import ScriptScale
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.evaluation import ItemEvaluation, Scorer, ScriptScorer, attach_score
from lfexp_mcp.worker.execution import Execution
from lfexp_mcp.worker.judging import GenerationTracer, JudgeScorer
from lfexp_mcp.worker.output import RunLog
from lfexp_mcp.worker.plan import plan_work
from lfexp_mcp.worker.prompting import prompt_caller
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.run_evaluation import RunEvaluation
from lfexp_mcp.worker.sdk import Sdk
from lfexp_mcp.worker.settlement import CANCELLED_PATIENCE_S, UNDELIVERED, Settlement, unstored_writes
from lfexp_mcp.worker.spans import ItemSpans
from lfexp_mcp.worker.stopping import CANCELLED, ErrorPolicy, Stop
from lfexp_mcp.worker.tasks import TaskRunner
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import UserCode, UserLoop, describe_error

MOST_THREADS = 256
"""For evaluators; tasks have as many as items may be at work."""
SDK_FLUSH_PATIENCE = 10.0
"""Seconds for scores that the user's code gave by itself, through the SDK."""
BEAT_EVERY = 1.0
CANCEL_MARGIN_S = 2.0
"""What a cancelled run has, beyond its grace and its patience for deliveries, to end in order."""
GREET_STORE_EVERY = 300
"""Beats; the embedded store ends itself after a quarter of an hour without a request."""
BROKE_OFF = (
    "The run broke off: {}. If the user's code replaces parts of Python or of packages, let it do so only within the "
    "task; else this is a defect of lfexp-mcp. The run's log tells more. What is done is kept."
)


@dataclass(frozen=True, slots=True)
class Scripts:
    """The user's code, loaded."""

    task: Task | ResolvedTaskPrompt
    evaluators: EvaluatorSet
    judges: tuple[ResolvedJudge, ...]

    def providers(self) -> set[ProviderName]:
        """Those whose models the run calls."""
        asked = {judge.provider for judge in self.judges}
        return asked | {self.task.provider} if isinstance(self.task, ResolvedTaskPrompt) else asked


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has been checked and may begin."""

    folder: RunFolder
    run_spec: RunSpec
    items: Sequence[DatasetItem]
    state: RunState
    """As earlier workers left it."""
    scripts: Scripts
    plan: RunPlan
    provenance: Provenance
    journal: JournalWriter
    outbox: Outbox
    log: RunLog
    user_loop: UserLoop = field(default_factory=UserLoop)

    async def carry_out(self, sdk: Sdk) -> None:
        """Run what is to run, send it, and journal how it ended."""
        stop = Stop()
        try:
            undelivered = await self._work(stop, sdk)
        except LfexpError as error:
            self._say_why(str(error))
            return
        except BaseException as error:
            self._say_why(BROKE_OFF.format(describe_error(_first_error(error))))
            raise
        ended = RunEnded(status=stop.status, reason=stop.reason) if stop.status is not None else end_of(undelivered)
        try:
            self.journal.sync()
            self.journal.append(ended)
            self.journal.close()
        except StateError as error:
            self.folder.worker.record_exit(str(error))

    def _say_why(self, reason: str) -> None:
        """Leave the reason why the run ends, where the disk takes it."""
        self.folder.worker.record_exit(reason)
        with suppress(StateError):
            self.journal.append(RunEnded(status="failed", reason=reason))

    async def _work(self, stop: Stop, sdk: Sdk) -> str | None:
        """Execute and deliver; return why Langfuse does not have everything, None where it has."""
        settings = sdk.settings
        undelivered: str | None = None
        async with connect(settings) as gateway, open_group() as group:
            delivery = Delivery(gateway, self.outbox, self.journal, self.run_spec.limits.delivery_patience)
            delivery.add_scores(unstored_writes(self.run_spec, self.state))
            expected = Expected(self.run_spec, self.state)
            ledger = UsageLedger(self.journal)
            group.start_soon(self._beat, gateway, ledger)
            group.start_soon(self._end_when_cancelled, stop, group)
            if self.run_spec.dry_run_of is None:
                group.start_soon(delivery.run)
                begun = marking.begun(self.run_spec, self.plan)
                self.journal.append(begun)
                delivery.add_scores([attach_score(begun.score, None, self.run_spec.experiments[0].id)])
            budget = await open_budget(gateway, self.run_spec, self.state)
            async with open_models(settings, budget=budget, on_retry=ledger.add_retry) as models:
                # Before the first item: to import a provider's SDK holds everything up for a moment.
                models.open_ahead(self.scripts.providers())
                await self._execute(delivery, models, stop, ledger, self._open_tracer(sdk), expected)
            settlement = Settlement(gateway, delivery, self.folder, self.run_spec, self.journal, self.outbox, sdk)
            if self.run_spec.dry_run_of is None:
                undelivered = await self._settle(settlement, stop, expected)
            group.cancel_scope.cancel()
        return undelivered

    async def _settle(self, settlement: Settlement, stop: Stop, expected: Expected) -> str | None:
        """Send all that is left, and at last how the run ended; return why not everything is, where that is the end."""
        undelivered = None
        if stop.status is None:
            undelivered = await settlement.settle(expected)
            if undelivered is not None:
                return undelivered
        else:
            await settlement.delivery.finish(settlement.patience)
        end = RunEnded(status=stop.status, reason=stop.reason) if stop.status else end_of(undelivered)
        state = await anyio.to_thread.run_sync(self.folder.read_state)
        told = await settlement.tell(marking.ended(self.run_spec, self.plan, state, end))
        return None if told or stop.status else UNDELIVERED

    async def _execute(
        self,
        delivery: Delivery,
        models: Models,
        stop: Stop,
        ledger: UsageLedger,
        tracer: RunTracer,
        expected: Expected,
    ) -> None:
        """Work through the items, and leave all that came of them on the disk."""
        recorder = Recorder(self.journal, self.outbox, tracer, expected)

        def note_usage(judge: ResolvedJudge, usage: ModelUsage) -> None:
            ledger.add(ModelCaller(judge.score_name, judge.model), usage)

        runner = JudgeRunner(models, GenerationTracer(tracer.client), note_usage)
        execution = self._assemble(
            tracer, recorder, delivery, stop, runner, self._task_caller(tracer, models, stop, ledger)
        )
        # What is loaded by now stays: the collector need not look at it again and again while items run.
        gc.freeze()
        scoring = execution.evaluation
        await execution.run(plan_work(self.run_spec, self.items, self.state, scoring.names, scoring.answerable))
        self.log.trim()
        await self._flush_sdk(tracer)
        tracer.flush()
        ledger.write()
        if stop.status is None:
            recorder.note(Executed())
        await anyio.to_thread.run_sync(recorder.sync)

    async def _beat(self, gateway: Gateway, ledger: UsageLedger) -> None:
        """Give signs of life, journal what models used, and keep an embedded store awake that nobody else may ask."""
        beats = 0
        while True:
            await anyio.sleep(BEAT_EVERY)
            self.folder.worker.heartbeat()
            ledger.write()
            beats += 1
            if beats % GREET_STORE_EVERY == 0:
                with suppress(BackendError):
                    await gateway.health()

    async def _end_when_cancelled(self, stop: Stop, group: TaskGroup) -> None:
        """Give up whatever still waits for Langfuse or a model when a cancel's time is over."""
        while not self.folder.cancel_requested():  # noqa: ASYNC110 - a file tells of it
            await anyio.sleep(BEAT_EVERY)
        stop_by = self.run_spec.limits.cancel_grace + CANCELLED_PATIENCE_S + CANCEL_MARGIN_S
        await anyio.sleep(stop_by)
        stop.request("cancelled", CANCELLED)
        group.cancel_scope.cancel()

    def _open_tracer(self, sdk: Sdk) -> RunTracer:
        metadata = [
            self.provenance.experiment_metadata(self.run_spec, repeat) for repeat in range(self.run_spec.repeats)
        ]
        return RunTracer(sdk, self.run_spec, ItemSpans(self.run_spec, metadata), self.outbox)

    def _assemble(
        self,
        tracer: RunTracer,
        recorder: Recorder,
        delivery: Delivery,
        stop: Stop,
        runner: JudgeRunner,
        call: CallTask,
    ) -> Execution:
        run_spec, limits = self.run_spec, self.run_spec.limits
        evaluators = self.scripts.evaluators
        calls = max(len(evaluators.evaluators), 1) * limits.max_concurrency
        scoring = UserCode(min(calls, MOST_THREADS), self.user_loop)
        script = self.provenance.script_maker
        scorers: list[Scorer] = [
            *(JudgeScorer(judge, runner, stop) for judge in self.scripts.judges),
            *(
                ScriptScorer(evaluator, scoring, run_spec, ScriptScale.of(evaluator, script, run_spec.score_scales))
                for evaluator in evaluators.evaluators
            ),
        ]
        of_run = [
            (evaluator, ScriptScale.of(evaluator, script, run_spec.score_scales))
            for evaluator in evaluators.run_evaluators
        ]
        run_evaluation = RunEvaluation(run_spec, of_run, scoring, recorder, delivery)
        run_evaluation.add_earlier(self.items, self.state)
        return Execution(
            folder=self.folder,
            limits=limits,
            log=self.log,
            tasks=TaskRunner(call, self.provenance.task_version, limits.task_retries, tracer, recorder),
            evaluation=ItemEvaluation(run_spec, scorers, tracer, recorder, delivery),
            run_evaluation=run_evaluation,
            recorder=recorder,
            stop=stop,
            policy=ErrorPolicy(
                limits.fail_on_error, run_spec.total_items, stop, lambda text: recorder.note(Warned(text=text))
            ),
        )

    def _task_caller(self, tracer: RunTracer, models: Models, stop: Stop, ledger: UsageLedger) -> CallTask:
        task = self.scripts.task
        if isinstance(task, ResolvedTaskPrompt):
            return prompt_caller(task, models, tracer.client, self.run_spec, stop, ledger)
        return script_caller(task, UserCode(self.run_spec.limits.max_concurrency, self.user_loop), self.run_spec)

    async def _flush_sdk(self, tracer: RunTracer) -> None:
        """Let the SDK send what the user's code gave it; it has no time-out of its own."""
        with anyio.move_on_after(SDK_FLUSH_PATIENCE):
            await anyio.to_thread.run_sync(tracer.client.flush, abandon_on_cancel=True)


async def deliver(folder: RunFolder, sdk: Sdk) -> None:
    """Send what a run has left behind, running nothing."""
    run_spec, state = folder.run_spec(), folder.read_state()
    drop_unrecorded(folder.outbox_path, run_spec, state)
    journal, outbox = folder.open_journal(), Outbox(folder.outbox_path)
    async with connect(sdk.settings) as gateway, open_group() as group:
        delivery = Delivery(gateway, outbox, journal, run_spec.limits.delivery_patience)
        delivery.add_scores(unstored_writes(run_spec, state))
        group.start_soon(delivery.run)
        settlement = Settlement(gateway, delivery, folder, run_spec, journal, outbox, sdk)
        undelivered = await settlement.settle(Expected(run_spec, state))
        is_done = state.executed and (state.run_ended is None or state.run_ended.cause == "undelivered")
        if undelivered is None:
            plan = state.accepted.provenance.plan if state.accepted else None
            plan = plan or RunPlan(run_spec.item_count, run_spec.repeats, run_spec.judged_scores)
            end = RunEnded(status="completed") if is_done else state.run_ended or marking.DIED
            undelivered = None if await settlement.tell(marking.ended(run_spec, plan, state, end)) else UNDELIVERED
        group.cancel_scope.cancel()
    if is_done:
        journal.append(end_of(undelivered))
    journal.close()


def _first_error(error: BaseException) -> BaseException:
    """Return the first error of a group, which says more than the group."""
    return _first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def end_of(undelivered: str | None) -> RunEnded:
    """Return how a run ended whose items are done.

    Args:
        undelivered: Why Langfuse does not have everything; None where it has.
    """
    if undelivered is None:
        return RunEnded(status="completed")
    return RunEnded(status="failed", cause="undelivered", reason=undelivered)
