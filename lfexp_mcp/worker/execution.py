"""Working through the items of a run, so many at once, until there are none or there is a reason to stop."""

from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import anyio.to_thread

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Limits
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.worker.evaluation import ItemEvaluation
from lfexp_mcp.worker.output import RunLog
from lfexp_mcp.worker.plan import Work
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.run_evaluation import RunEvaluation
from lfexp_mcp.worker.stopping import CANCELLED, ErrorPolicy, Stop
from lfexp_mcp.worker.tasks import TaskRunner

WATCH_EVERY = 0.2
SYNC_EVERY = 0.1
"""Seconds; what a power cut may cost."""


@dataclass(frozen=True, slots=True)
class Execution:
    """All that takes part in working through the items."""

    folder: RunFolder
    limits: Limits
    log: RunLog
    tasks: TaskRunner
    evaluation: ItemEvaluation
    run_evaluation: RunEvaluation
    recorder: Recorder
    stop: Stop
    policy: ErrorPolicy

    async def run(self, works: Iterator[Work]) -> None:
        """Work through the items, then score the run as a whole.

        Raises:
            StateError: The run's folder cannot be written.
        """
        async with open_group() as keepers:
            keepers.start_soon(self._keep_synced)
            with anyio.CancelScope() as at_work:
                keepers.start_soon(self._watch, at_work)
                async with open_group() as pool:
                    for _ in range(self.limits.max_concurrency):
                        pool.start_soon(self._consume, works)
                if self.stop.status is None:
                    await self.run_evaluation.run()
            keepers.cancel_scope.cancel()

    async def _consume(self, works: Iterator[Work]) -> None:
        for work in works:
            if self.stop.status is not None:
                return
            ended = False
            try:
                await self._process(work)
                ended = True
            finally:
                if not ended:
                    self.stop.request("failed", f"Item {work.item.id!r} was given up.")

    async def _process(self, work: Work) -> None:
        output: object
        if work.ended is not None:
            ended, output = work.ended, work.ended.output
        else:
            done = await self.tasks.run(work.item, work.repeat, work.attempt)
            ended, output = done.event, done.output
            self.policy.count(ended)
        if ended.status == "succeeded":
            scored = await self.evaluation.run(work, ended, output)
            self.run_evaluation.add(work.item, ended, output, scored)
        else:
            await self.recorder.settle()

    async def _watch(self, at_work: anyio.CancelScope) -> None:
        """Stop for a cancel or the run's time-out, and give up what is still at work after the grace period."""
        started = CLOCK.monotonic()
        limit = self.limits.run_timeout
        while True:
            self.log.trim()
            if self.folder.cancel_requested():
                self.stop.request("cancelled", CANCELLED)
            if limit is not None and CLOCK.monotonic() - started > limit:
                self.stop.request("failed", f"The run took longer than run_timeout={limit:g} s.")
            if self.stop.status is not None and CLOCK.monotonic() - self.stop.since > self.limits.cancel_grace:
                at_work.cancel()
            await anyio.sleep(WATCH_EVERY)

    async def _keep_synced(self) -> None:
        while True:
            await anyio.sleep(SYNC_EVERY)
            await anyio.to_thread.run_sync(self.recorder.sync)
