"""Following a run of this machine by its journal."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import anyio

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.model import Holdout, Progress, ProviderRetries, RunSpec
from lfexp_mcp.runs.events import BatchRecorded
from lfexp_mcp.runs.replay import Replay
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.runs.held_out import may_have_held_out
from lfexp_mcp.services.runs.local_runs import catch_up, find_run_folder
from lfexp_mcp.services.workspace import Workspace

OnProgress = Callable[[Progress], Awaitable[None]]

MIN_POLL_S = 0.003
"""Between two looks at the journal, at the beginning: many runs are short."""
MAX_POLL_S = 0.2
POLL_FACTOR = 300
"""Looks come rarer as time goes on: what a run lasts longer because of them is a small part of it."""
LIVENESS_POLL_S = 0.5
"""Between two checks that the worker is alive."""
DEATH_NOTE_PATIENCE_S = 2.0
"""How long the process that started a dead worker may take to note how it died."""
MIN_REPORT_INTERVAL_S = 1.0
MAX_REPORT_INTERVAL_S = 10.0
"""Between two reports while nothing moves."""


async def wait_for_run(
    ws: Workspace, dataset: str, run_name: str, seconds: float, on_progress: OnProgress | None = None
) -> Launch | None:
    """Wait until a run of this machine has ended or the time is over; return at once for other runs.

    Returns:
        The launch of a run that is still being prepared when the time is over, else None.

    Raises:
        NotFoundError: There is no such dataset.
        LfexpError: The run was asked for, and could not be launched.
    """
    deadline = anyio.current_time() + seconds
    launch = ws.launches.find(dataset, run_name)
    if launch is not None:
        try:
            if not await launch.wait(seconds, until_taken=True):
                return launch
        except LfexpError:
            ws.launches.forget(launch)
            raise
    if seconds > 0:
        folder = await find_run_folder(ws, dataset, run_name)
        if folder is not None and folder.is_running():
            ws.run_cache.drop_results()
            hides = await may_have_held_out(ws, folder.run_spec())
            follower = Follower(ws.replays.of(folder), on_progress, hides_failures=hides)
            await follower.wait(deadline - anyio.current_time())
    return None


class Follower:
    """Reads the journal of one run as it grows."""

    def __init__(self, replay: Replay, on_progress: OnProgress | None = None, *, hides_failures: bool = False) -> None:
        """Follow a run.

        Args:
            replay: Of the run; it is read by `wait`.
            on_progress: Called with the run's progress, at most once a second and at least every ten.
            hides_failures: Tell only how far the run has come, since it may have held-out items.

        Raises:
            StateError: The run spec cannot be read.
        """
        self._replay = replay
        self._on_progress = on_progress
        self._hides_failures = hides_failures
        self._reported = (-math.inf, -1)
        """When the progress was reported last, and how many items were done."""
        self.folder = replay.folder
        self.run_spec: RunSpec = replay.folder.run_spec()

    @property
    def state(self) -> RunState:
        """The run as far as its journal has been read."""
        return self._replay.state

    async def wait(self, seconds: float) -> bool:
        """Wait until the run ends or its worker dies.

        Args:
            seconds: Maximum time to wait, that for reading the journal included; below zero counts as zero.

        Returns:
            Whether it ended; False also where the journal was not read to its end in time.

        Raises:
            StateError: The journal cannot be read.
        """
        until = anyio.current_time() + seconds
        if not await catch_up(self._replay, until):
            return False
        begun = checked = time.monotonic()
        seconds = until - anyio.current_time()
        while self.state.run_ended is None:
            await self._report()
            now = time.monotonic()
            if now - begun >= seconds:
                return False
            if now - checked >= LIVENESS_POLL_S:
                checked = now
                if not self.folder.is_running():
                    # Its last events may have come between the last look at the journal and its death.
                    await catch_up(self._replay)
                    await self._wait_for_death_note()
                    return True
            await anyio.sleep(
                min(MIN_POLL_S + (now - begun) / POLL_FACTOR, MAX_POLL_S, max(begun + seconds - now, 0.001))
            )
            await catch_up(self._replay)
        return True

    async def _wait_for_death_note(self) -> None:
        with anyio.move_on_after(DEATH_NOTE_PATIENCE_S):
            while self.state.run_ended is None and self.folder.worker.exit_reason is None:  # noqa: ASYNC110 - in a file
                await anyio.sleep(MIN_POLL_S)

    async def _report(self) -> None:
        if self._on_progress is None:
            return
        progress = self.progress()
        reported, done = self._reported
        elapsed = time.monotonic() - reported
        if elapsed >= MAX_REPORT_INTERVAL_S or (progress.done != done and elapsed >= MIN_REPORT_INTERVAL_S):
            self._reported = time.monotonic(), progress.done
            await self._on_progress(progress)

    def progress(self) -> Progress:
        """Return how far the run has come."""
        state = self.state
        done, total = state.kept + state.ended_since_accepted, self.run_spec.total_items
        if state.scores_only:
            done, total = state.scored_anew, state.scorer.to_score if state.scorer else 0
        elif self.run_spec.set_aside is not None:
            return _progress_of_open(state, self.run_spec.set_aside)
        if self._hides_failures:
            return Progress(done=done, total=total)
        running = len(state.running)
        rate = self._rate()
        # The items that have ended do not tell how long the last ones will take: one of them may hang.
        has_more = total - done > running
        return Progress(
            done=done,
            total=total,
            failed=state.failed_anew,
            running=running,
            scoring=len(state.scoring),
            longest_wait=_age_of_oldest(state.running or state.scoring),
            items_per_second=rate,
            seconds_left=(total - done) / rate if rate and has_more else None,
            provider_retries=tuple(
                ProviderRetries(provider, retries, rate_limited)
                for provider, (retries, rate_limited) in tuple(state.retried.items())
            ),
            batched=_batched(tuple(state.batches.values())),
        )

    def _rate(self) -> float | None:
        state = self.state
        accepted, done = (
            (state.scorer, state.scored_anew) if state.scores_only else (state.accepted, state.ended_since_accepted)
        )
        if accepted is None or not done:
            return None
        seconds = time.time() - accepted.at.timestamp()
        return done / seconds if seconds > 0 else None


def _progress_of_open(state: RunState, set_aside: Holdout) -> Progress:
    """The progress of a resumed run without what was set aside since it began, of which no count is told."""
    open_keys = [key for key in tuple(state.ended) if not set_aside.holds(key[1])]
    return Progress(done=sum(map(state.succeeded, open_keys)), total=len(open_keys))


def _batched(batches: Sequence[BatchRecorded]) -> tuple[int, int] | None:
    out = [batch for batch in batches if batch.status != "ended"]
    return (sum(batch.done for batch in out), sum(batch.requests for batch in out)) if out else None


def _age_of_oldest(begun: Mapping[ItemKey, datetime]) -> float | None:
    # Copied in one step, since another thread may be reading the journal.
    first = min(tuple(begun.values()), default=None)
    return None if first is None else max(time.time() - first.timestamp(), 0.0)
