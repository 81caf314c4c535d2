"""Run and evaluate the items of a run concurrently, until all are done or there is a reason to stop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio
import anyio.to_thread

from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Limits
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.worker.early_stopping import EarlyStopping
from lfexp_mcp.worker.engine import Engine
from lfexp_mcp.worker.evaluation import ItemEvaluation, RunEvaluation
from lfexp_mcp.worker.isolation import RunLog
from lfexp_mcp.worker.pending import PendingItem, announcing_last
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.running_time import RunningTime
from lfexp_mcp.worker.sharing import SharedPlaces
from lfexp_mcp.worker.stopping import CANCELLED, ErrorPolicy, Stop
from lfexp_mcp.worker.task_runner import TaskRunner

WATCH_INTERVAL_S = 0.2
SYNC_INTERVAL_S = 0.1
"""How much of a run a power cut may cost."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Runs and evaluates items."""

    folder: RunFolder
    limits: Limits
    log: RunLog
    tasks: TaskRunner | None
    """None where no task is called: all pending items have results."""
    evaluation: ItemEvaluation
    run_evaluation: RunEvaluation
    recorder: Recorder
    stop: Stop
    policy: ErrorPolicy
    early: EarlyStopping
    engine: Engine
    announce_last: Callable[[], object]
    """Called when the last item begins."""
    shared: SharedPlaces | None = None
    """Set for a run that shares `max_concurrency` with others."""

    async def run(self, items: Iterator[PendingItem], *, until_cancelled: bool = True) -> None:
        """Run and evaluate the items, then evaluate the run as a whole.

        Args:
            items: What is to do.
            until_cancelled: Whether a cancelled run stops, rather than to finish what it has paid for.

        Raises:
            StateError: The run's folder cannot be written.
        """
        async with open_group() as keepers:
            keepers.start_soon(self._keep_synced)
            with anyio.CancelScope() as running:
                keepers.start_soon(self._watch, running, until_cancelled)
                if self.early.is_active:
                    items = await self.early.begin(items)
                items = announcing_last(items, self.announce_last)
                async with open_group() as pool:
                    for _ in range(self.limits.max_concurrency):
                        pool.start_soon(self._run_next, items)
                if self.stop.status == "stopped" and next(items, None) is None:
                    # There was nothing left to stop: the run is complete, and has the verdict of a look.
                    self.stop.withdraw()
                if self.shared is not None:
                    self.folder.mark_executed()
                if self.stop.status is None:
                    await self.run_evaluation.run()
                await self.engine.finish()
            keepers.cancel_scope.cancel()

    async def _run_next(self, items: Iterator[PendingItem]) -> None:
        if self.shared is None:
            while await self._run_one(items):
                pass
            return
        is_next = True
        while is_next:
            async with self.shared.limiter:
                is_next = await self._run_one(items)

    async def _run_one(self, items: Iterator[PendingItem]) -> bool:
        """Run and evaluate the next item; return False if there is none, or the run stops."""
        pending = next(items, None) if self.stop.status is None else None
        if pending is None:
            return False
        ended = False
        try:
            await self._run_item(pending)
            await self.early.count(pending)
            ended = True
        finally:
            if not ended:
                self.stop.request("failed", f"Item {pending.item.id!r} was given up.")
        return True

    async def _run_item(self, pending: PendingItem) -> None:
        result = pending.result
        if result is None:
            if self.tasks is None:
                return
            result = await self.tasks.run(pending)
            self.policy.count(result.ended)
        if result.ended.status == "succeeded":
            self.run_evaluation.add(result, await self.evaluation.run(pending, result))
        else:
            await self.recorder.settle()

    async def _watch(self, running: anyio.CancelScope, until_cancelled: bool) -> None:
        """Stop the run if it is cancelled or times out, and give up what still runs after the grace period."""
        running_time, limit = RunningTime(), self.limits.run_timeout
        stopped_at: float | None = None
        while True:
            now = running_time.seconds()
            self.log.trim()
            if self.shared is not None:
                self.shared.update()
            is_cancelled = until_cancelled and self.folder.cancel_requested()
            is_late = limit is not None and now > limit
            if is_cancelled:
                self.stop.request("cancelled", CANCELLED)
            if is_late:
                self.stop.request("failed", f"The run took longer than run_timeout={limit:g} s.")
            # What runs when its rule stops a run may end.
            is_urgent = self.stop.status != "stopped" or is_cancelled or is_late
            stopped_at = (stopped_at or now) if self.stop.status is not None else None
            is_over = stopped_at is not None and now - stopped_at > self.limits.cancel_grace
            if is_over and is_urgent:
                running.cancel()
            await anyio.sleep(WATCH_INTERVAL_S)

    async def _keep_synced(self) -> None:
        while True:
            await anyio.sleep(SYNC_INTERVAL_S)
            await anyio.to_thread.run_sync(self.recorder.sync)
