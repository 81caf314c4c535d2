"""Following a running run by its journal."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import Progress, ProviderRetries
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.model import RunRecord, RunSpec
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.replay import ItemKey, RunState
from lfexp_mcp.runs.replays import Replay
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.runs.read_run import DESCRIBING_S_PER_RESULT
from lfexp_mcp.services.workspace import Workspace

OnProgress = Callable[[Progress], Awaitable[None]]

SHORTEST_POLL = 0.02
LONGEST_POLL = 0.2
"""Seconds between two looks at the journal: often in the beginning, since many runs are short."""
LIFE_POLL = 0.5
"""Seconds between two looks whether the worker lives."""
LAST_WORDS_PATIENCE_S = 2.0
SHORTEST_REPORT = 1.0
LONGEST_REPORT = 10.0
"""Seconds between two reports of the progress: not more often, and when nothing moves not more seldom."""


class _Reporter:
    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._last = -math.inf
        self._done = -1

    async def report(self, progress: Progress) -> None:
        if self._on_progress is None:
            return
        quiet = time.monotonic() - self._last
        moved = progress.done != self._done
        if quiet >= LONGEST_REPORT or (moved and quiet >= SHORTEST_REPORT):
            self._last, self._done = time.monotonic(), progress.done
            await self._on_progress(progress)


async def wait_for_run(
    ws: Workspace, dataset: str, run_name: str, seconds: float, on_progress: OnProgress | None = None
) -> Launch | None:
    """Wait until a run that is running on this machine ends, or the time is over; return at once for all others.

    Returns:
        The start of a run that is still being prepared when the time is over, None for all others.

    Raises:
        NotFoundError: There is no such dataset.
        LfexpError: The run was asked for, and could not be started.
    """
    deadline = anyio.current_time() + seconds
    start = ws.launches.find(dataset, run_name)
    if start is not None and not await _wait_for_worker(ws, start, seconds):
        return start
    if seconds > 0:
        folder = await find_run_folder(ws, dataset, run_name)
        if folder is not None and folder.is_at_work():
            follower = await follow(ws, folder, on_progress)
            await follower.wait(deadline - anyio.current_time() - follower.describing_s)
    return None


async def _wait_for_worker(ws: Workspace, start: Launch, seconds: float) -> bool:
    """Wait until a run that is being prepared has a worker, and tell whether it has."""
    try:
        return await start.wait(seconds, until_taken=True)
    except LfexpError:
        ws.launches.forget(start)
        raise


async def follow(ws: Workspace, folder: RunFolder, on_progress: OnProgress | None = None) -> "Follower":
    """Return a follower of a run whose journal has been read as far as it goes.

    Args:
        ws: The workspace.
        folder: The run's.
        on_progress: Told how far the run has come, at most once a second and at least every ten.

    Raises:
        StateError: The folder cannot be read.
    """
    replay = ws.replays.of(folder)
    await anyio.to_thread.run_sync(replay.refresh)
    return Follower(replay, on_progress)


class Follower:
    """Reads the journal of one run as it grows; `follow` opens one."""

    def __init__(self, replay: Replay, on_progress: OnProgress | None = None) -> None:
        self._replay = replay
        self._folder = replay.folder
        self._reporter = _Reporter(on_progress)
        self.run_spec: RunSpec = replay.folder.run_spec()

    @property
    def state(self) -> RunState:
        """The run as far as its journal has been read."""
        return self._replay.state

    @property
    def describing_s(self) -> float:
        """About what it takes to put the whole run into an answer, for which a wait leaves time."""
        return self.run_spec.total_items * DESCRIBING_S_PER_RESULT

    async def wait(self, seconds: float) -> bool:
        """Wait until the run ends or its worker dies.

        Args:
            seconds: How long, at most; below zero is as zero.

        Returns:
            Whether it ended.
        """
        begun = time.monotonic()
        looked = begun
        self._replay.refresh()
        while self.state.run_ended is None:
            await self._reporter.report(self.progress())
            now = time.monotonic()
            if now - begun >= seconds:
                return False
            if now - looked >= LIFE_POLL:
                looked = now
                if not self._folder.is_at_work():
                    # Its last events may have come between the last look at the journal and its death.
                    self._replay.refresh()
                    await self._wait_for_last_words()
                    return True
            await anyio.sleep(min(SHORTEST_POLL + (now - begun) / 20, LONGEST_POLL, max(begun + seconds - now, 0.001)))
            self._replay.refresh()
        return True

    async def _wait_for_last_words(self) -> None:
        """Give whoever started the worker a moment to note how it died."""
        with anyio.move_on_after(LAST_WORDS_PATIENCE_S):
            while self.state.run_ended is None and self._folder.last_words() is None:  # noqa: ASYNC110 - in a file
                await anyio.sleep(SHORTEST_POLL)

    def progress(self) -> Progress:
        """Return how far the run has come."""
        state = self.state
        done, total = state.kept + state.ended_since_accepted, self.run_spec.total_items
        running = len(state.at_work)
        rate = self._rate()
        # How long the last items will run is not known from those that have ended: one of them may hang.
        has_more = total - done > running
        return Progress(
            done=done,
            total=total,
            failed=state.failed_anew,
            running=running,
            scoring=len(state.in_scoring),
            longest_wait=_age_of_oldest(state.at_work or state.in_scoring),
            items_per_second=rate,
            seconds_left=(total - done) / rate if rate and has_more else None,
            provider_retries=[
                ProviderRetries(provider=provider, retries=retries, rate_limited=rate_limited)
                for provider, (retries, rate_limited) in tuple(state.retried.items())
            ],
        )

    def record(self) -> RunRecord:
        """Return the run as it stands."""
        return self._replay.record()

    def undelivered(self) -> int:
        """Count what Langfuse has not acknowledged; 0 for a run that ended well, without looking."""
        if self.state.run_ended is not None and self.state.run_ended.status == "completed":
            return 0
        return self._folder.undelivered(self.state)

    def worker_exit_code(self) -> int | None:
        """Return how the newest worker's process died, None where it did not, or nobody saw it."""
        return self._folder.worker_exit_code()

    def log(self) -> str | None:
        """Return the path of what the user's code printed, None where it printed nothing."""
        return str(self._folder.log_path) if self._folder.has_log() else None

    def _rate(self) -> float | None:
        accepted = self.state.accepted
        if accepted is None or not self.state.ended_since_accepted:
            return None
        seconds = time.time() - accepted.at.timestamp()
        return self.state.ended_since_accepted / seconds if seconds > 0 else None


def _age_of_oldest(begun: Mapping[ItemKey, datetime]) -> float | None:
    """Return for how many seconds the first has been under way, None where there is none."""
    # The copy is one step, since another thread may read the journal on.
    first = min(tuple(begun.values()), default=None)
    return None if first is None else max(time.time() - first.timestamp(), 0.0)
