"""The life of a run: its items are executed and delivered concurrently, and its end is recorded."""

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from lfexp_mcp.errors import BackendError, LfexpError, StateError
from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.model_client import ONE_CALL, POLICY, ModelClient
from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.runs.events import Executed, RunEnded, Warned
from lfexp_mcp.worker.assembly import assemble
from lfexp_mcp.worker.batches import BatchJudging
from lfexp_mcp.worker.delivery import CANCELLED_PATIENCE_S
from lfexp_mcp.worker.execution import Execution
from lfexp_mcp.worker.loading import LoadedRun
from lfexp_mcp.worker.model_calls import UsageLedger, open_budget, open_run_prices
from lfexp_mcp.worker.pending import PendingItem, pending_items
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.sdk import Sdk
from lfexp_mcp.worker.settlement import UNDELIVERED, Settlement, end_of
from lfexp_mcp.worker.spans import ItemSpans
from lfexp_mcp.worker.stopping import CANCELLED, Stop
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import describe_error

SDK_FLUSH_TIMEOUT_S = 10.0
"""For scores that the user's code created itself, through the SDK."""
BEAT_INTERVAL_S = 1.0
CANCEL_MARGIN_S = 2.0
"""What a cancelled run has, beyond its grace period and its patience for deliveries, to record its end."""
HEALTH_CHECK_BEATS = 300
"""The embedded store shuts down after 15 minutes without a request."""
INTERRUPTED = (
    "The run was interrupted: {}. If the user's code replaces parts of Python or of packages, it must do so within the "
    "task only; otherwise this is a bug in lfexp-mcp. The run's log has details. Finished items are kept."
)


class Run:
    """One run in this process."""

    def __init__(self, run: LoadedRun, sdk: Sdk, together: Sequence[Path] = ()) -> None:
        """Take a run that is loaded.

        Args:
            run: The run.
            sdk: Makes the spans.
            together: The folders of runs that share `max_concurrency` with it, see `SharedPlaces`.
        """
        self._run = run
        self._together = together
        self._sdk = sdk
        self._stop = Stop()
        self._ledger = UsageLedger(run.journal)
        self._is_delivered = False
        """Whether Langfuse has acknowledged everything."""

    async def carry_out(self) -> None:
        """Execute and deliver the items, and journal how the run ended."""
        folder, journal = self._run.folder, self._run.journal
        try:
            undelivered = await self._execute_and_deliver()
        except LfexpError as error:
            self._end_early(str(error))
            return
        except BaseException as error:
            self._end_early(INTERRUPTED.format(describe_error(_first_error(error))))
            raise
        try:
            journal.sync()
            journal.append(self._end(undelivered))
            journal.close()
        except StateError as error:
            folder.worker.record_exit(str(error))

    def _end(self, undelivered: str | None) -> RunEnded:
        stop = self._stop
        if stop.status is None:
            return end_of(undelivered)
        return RunEnded(status=stop.status, reason=stop.reason, delivered=self._is_delivered)

    def _end_early(self, reason: str) -> None:
        """Record why the run ends, wherever the disk allows it."""
        self._run.folder.worker.record_exit(reason)
        with suppress(StateError):
            self._run.journal.append(RunEnded(status="failed", reason=reason))

    async def _execute_and_deliver(self) -> str | None:
        """Execute and deliver the items; return why Langfuse does not have everything, None if it has."""
        run, run_spec = self._run, self._run.run_spec
        is_sent = run_spec.dry_run_of is None
        undelivered: str | None = None
        async with connect(self._sdk.settings) as gateway, open_group() as group:
            settlement = Settlement.open(gateway, run.folder, run_spec, run.state, run.journal, run.outbox, self._sdk)
            group.start_soon(self._beat, gateway)
            group.start_soon(self._end_when_cancelled, group)
            if is_sent:
                group.start_soon(settlement.delivery.run)
                settlement.record_running(run.plan, run.state.looks, scores_only=run.scores_only)
            prices = await open_run_prices(gateway, run_spec, run.state)
            # Replayed calls cost nothing, and get the same reply however often they are made.
            replays = run.models is not None and run.models.is_replay
            budget = None if replays else open_budget(prices, run_spec, run.state)
            settings = run.models.settings if run.models is not None else self._sdk.settings
            async with ModelClient(
                settings, policy=ONE_CALL if replays else POLICY, budget=budget, on_retry=self._ledger.add_retry
            ) as models:
                # Importing a provider's SDK takes a moment, and must not delay the first item.
                models.open_ahead(run.providers)
                begin_end = partial(group.start_soon, settlement.begin_end)
                announce_last: Callable[[], object] = begin_end if is_sent else lambda: None
                await self._execute(settlement, models, prices, budget, announce_last)
            if is_sent:
                undelivered = await self._settle(settlement)
            group.cancel_scope.cancel()
        return undelivered

    async def _execute(
        self,
        settlement: Settlement,
        models: ModelClient,
        prices: PriceTable,
        budget: Budget | None,
        announce_last: Callable[[], object],
    ) -> None:
        """Execute the items, and leave all their results on the disk."""
        run, run_spec = self._run, self._run.run_spec
        metadata = [run.provenance.experiment_metadata(run_spec, repeat) for repeat in range(run_spec.repeats)]
        spans = ItemSpans(run_spec, metadata, scores_only=run.scores_only)
        tracer = RunTracer(self._sdk, run_spec, spans, run.outbox)
        recorder = Recorder(run.journal, run.outbox, tracer)
        execution = assemble(
            run,
            tracer=tracer,
            recorder=recorder,
            delivery=settlement.delivery,
            models=models,
            prices=prices,
            ledger=self._ledger,
            stop=self._stop,
            gateway=settlement.gateway,
            announce_last=announce_last,
            together=self._together,
        )
        # What is loaded by now stays, so the garbage collector need not visit it while items run.
        gc.freeze()
        evaluation = execution.evaluation
        pending = pending_items(run_spec, run.items, run.state, evaluation.needed, scores_only=run.scores_only)
        if run_spec.batch:
            await self._execute_by_batches(execution, list(pending), models, budget)
        else:
            await execution.run(pending)
        if run.cluster is not None:
            await anyio.to_thread.run_sync(run.cluster.close, abandon_on_cancel=True)
        run.log.trim()
        # The SDK's flush has no time-out of its own.
        with anyio.move_on_after(SDK_FLUSH_TIMEOUT_S):
            await anyio.to_thread.run_sync(tracer.client.flush, abandon_on_cancel=True)
        tracer.flush()
        # The last requests are under way while the disk is waited for and the journal is read.
        settlement.delivery.flush()
        self._ledger.write()
        self._close_recording(recorder)
        if self._stop.status is None:
            recorder.note(Executed())
        await anyio.to_thread.run_sync(recorder.sync)

    def _close_recording(self, recorder: Recorder) -> None:
        """Close the recording of the run's calls; a replay of which a call was not recorded has failed."""
        if self._run.models is None:
            return
        warnings, failure = self._run.models.finish(ended=self._stop.status is None)
        recorder.note(*(Warned(text=text) for text in warnings))
        if failure is not None and self._stop.status is None:
            self._stop.request_failed(failure)

    async def _execute_by_batches(
        self, execution: Execution, pending: Sequence[PendingItem], models: ModelClient, budget: Budget | None
    ) -> None:
        run = self._run
        grace = run.run_spec.limits.cancel_grace
        judging = BatchJudging(run.folder, run.journal, run.state.batches, models, budget, grace)
        answered = await judging.prepare(pending, execution.evaluation.requests)
        # What a cancelled batch has finished is paid for.
        await execution.run(iter(answered), until_cancelled=not judging.is_cancelled)
        judging.settle(self._stop)

    async def _settle(self, settlement: Settlement) -> str | None:
        """Deliver what is left, and record how the run ended; return why Langfuse does not have everything."""
        if self._stop.status in ("failed", "cancelled"):
            # Such a run is incomplete anyway: it is not counted what Langfuse shows of it.
            undelivered = None if await settlement.delivery.finish() else UNDELIVERED
        else:
            undelivered = await settlement.settle()
            if undelivered is not None and self._stop.status is None:
                return undelivered
        is_recorded = await settlement.record_end(self._run.plan, self._end(None))
        self._is_delivered = is_recorded and undelivered is None
        return None if is_recorded or self._stop.status else UNDELIVERED

    async def _beat(self, gateway: Gateway) -> None:
        """Show that the worker is alive, journal what models used, and keep an embedded store running."""
        beats = 0
        while True:
            await anyio.sleep(BEAT_INTERVAL_S)
            self._run.folder.worker.heartbeat()
            self._ledger.write()
            beats += 1
            if beats % HEALTH_CHECK_BEATS == 0:
                with suppress(BackendError):
                    await gateway.health()

    async def _end_when_cancelled(self, group: TaskGroup) -> None:
        """Give up what still waits for Langfuse or a model when the time of a cancelled run is over."""
        while not self._run.folder.cancel_requested():  # noqa: ASYNC110 - the request is a file
            await anyio.sleep(BEAT_INTERVAL_S)
        await anyio.sleep(self._run.run_spec.limits.cancel_grace + CANCELLED_PATIENCE_S + CANCEL_MARGIN_S)
        self._stop.request("cancelled", CANCELLED)
        group.cancel_scope.cancel()


def _first_error(error: BaseException) -> BaseException:
    """Return the first error of a group, which says more than the group."""
    return _first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
