"""Send a run's spans and scores to Langfuse until it has acknowledged them."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BackendError, RateLimitError, RejectedError, SizeError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Score
from lfexp_mcp.retries import Retries, RetryPolicy
from lfexp_mcp.runs.events import ScoresStored, Warned, WriteRefused
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox, count_spans
from lfexp_mcp.runs.span_batches import name_spans, split_batch
from lfexp_mcp.spool import SpooledQueue

T = TypeVar("T")

REQUEST_SCORES = 100
REQUEST_BYTES = 1_000_000
MAX_SCORES_IN_MEMORY = 2000
"""Of those that wait to be sent, of which a run has all if Langfuse takes none."""
MAX_REQUESTS = 4
"""Concurrent ones, of spans and of scores each."""
MIN_GATHERING_S = 0.2
MAX_GATHERING_S = 15.0
"""Spans and scores are gathered for one request for a tenth of the time since the run started, within these bounds. A
short run is visible soon, and a long one needs few requests."""
TICK_S = 0.02
MAX_DELAY_S = 5.0
TRIES_IN_PATIENCE = 6
MAX_RETRY_AFTER_S = 60.0
CANCELLED_PATIENCE_S = 5.0
"""How long a cancelled run waits for a Langfuse that takes nothing."""
RATE_LIMITED_FACTOR = 5
"""How many times longer a run waits for a Langfuse that answers 429, since that is known to run."""
RATE_LIMITED_MARGIN = 1.25
"""How much longer than its delay a repeated request may take before the server counts as gone."""
DAMAGED = "in the outbox are damaged, and the spans in them are lost; results and scores are in the journal."


class Delivery:
    """Sends the outbox's files and the scores it is given, repeating each request until it is acknowledged or refused.

    Args:
        gateway: Sends the requests.
        outbox: Holds the spans.
        journal: Records what is acknowledged or refused.
        patience: Seconds without any success after which `finish` gives up.
        is_cancelled: Whether the run is cancelled, which shortens the patience.

    Attributes:
        refusals: What Langfuse has refused.
        last_error: Why the last failed request failed; None since one has succeeded.
    """

    def __init__(
        self,
        gateway: Gateway,
        outbox: Outbox,
        journal: JournalWriter,
        patience: float,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self.refusals: list[WriteRefused] = []
        self.last_error: str | None = None
        self._gateway = gateway
        self._outbox = outbox
        self._journal = journal
        self._patience_s = patience
        self._is_cancelled = is_cancelled
        max_delay = min(patience / TRIES_IN_PATIENCE, MAX_DELAY_S)
        self._policy = RetryPolicy(attempts=None, first_delay_s=0.2, max_delay_s=max_delay)
        self._scores: SpooledQueue[tuple[float, Score]] = SpooledQueue(MAX_SCORES_IN_MEMORY)
        """With when each was added."""
        self._started = CLOCK.monotonic()
        self._progressed = self._started
        self._limited_until = self._started
        self._span_requests = 0
        self._score_requests = 0
        self._finishing = self._is_flushing = self._is_paused = False
        self._changed = anyio.Event()
        """Set, and made anew, where waiting for the next tick would delay the end."""

    def add_scores(self, scores: Iterable[Score]) -> None:
        """Send scores that are in the journal.

        Raises:
            StateError: There is no room on disk for those that have to wait.
        """
        now = CLOCK.monotonic()
        for score in scores:
            self._scores.append((now, score))
        if self._finishing:
            self._wake()

    async def run(self) -> None:
        """Send spans and scores until cancelled.

        Raises:
            StateError: The journal cannot be written.
        """
        async with open_group() as group:
            while True:
                if not self._is_paused:
                    self._send_spans(group)
                    self._send_scores(group)
                    self._is_flushing = False
                await self._rest()

    def flush(self) -> None:
        """Send what has been gathered so far, rather than gather more."""
        self._is_flushing = True
        self._wake()

    async def flushed(self) -> bool:
        """Wait until all that was flushed is acknowledged; return False if `finish` is called before."""
        while not self._finishing and (self._is_flushing or self._span_requests or self._score_requests):
            await self._rest()
        return not self._finishing

    async def finish(self) -> bool:
        """Send what is left, and return whether everything is acknowledged."""
        self._finishing, self._is_paused = True, False
        self._progressed = CLOCK.monotonic()
        self._wake()
        while self._span_requests or self._score_requests or self._scores or not self._outbox.is_empty():
            if CLOCK.monotonic() - self._progressed > self._current_patience_s():
                return False
            await self._rest()
        return True

    def pause(self) -> None:
        """Send nothing more until `finish`."""
        self._is_paused = True

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _rest(self) -> None:
        with anyio.move_on_after(TICK_S):
            await self._changed.wait()

    def _current_patience_s(self) -> float:
        if self._is_cancelled():
            return min(self._patience_s, CANCELLED_PATIENCE_S)
        is_limited = CLOCK.monotonic() < self._limited_until
        return self._patience_s * RATE_LIMITED_FACTOR if is_limited else self._patience_s

    def _gathering_s(self) -> float:
        if self._finishing or self._is_flushing:
            return 0.0
        elapsed = CLOCK.monotonic() - self._started
        return min(max(elapsed / 10, MIN_GATHERING_S), MAX_GATHERING_S)

    def _send_spans(self, group: TaskGroup) -> None:
        if self._outbox.ripe(REQUEST_BYTES, self._gathering_s()):
            self._outbox.seal()
        while self._span_requests < MAX_REQUESTS and (path := self._outbox.take()):
            self._span_requests += 1
            group.start_soon(self._send_file, path)

    async def _send_file(self, path: Path) -> None:
        found = await anyio.to_thread.run_sync(self._outbox.read, path)
        if found.lost_bytes:
            self._journal.append(Warned(text=f"{found.lost_bytes} bytes of {path.name} {DAMAGED}"))
        if found.contents:
            await self._send_batch(b"".join(found.contents))
        self._outbox.remove(path)
        self._span_requests -= 1
        self._wake()

    async def _send_batch(self, batch: bytes) -> None:
        """Send a batch; if it is refused, find the span that is to blame and send the others."""
        try:
            await self._repeat(
                lambda: self._gateway.observations.send(batch), is_divisible=lambda: count_spans(batch) > 1
            )
        except (RejectedError, SizeError) as refused:
            spans = name_spans(batch)
            if len(spans) > 1:
                for half in split_batch(batch):
                    await self._send_batch(half)
                return
            for span_id, name in spans:
                self._outbox.refuse(span_id, batch)
                self._record_refusals(WriteRefused(kind="span", id=span_id, name=name, message=str(refused)))

    def _send_scores(self, group: TaskGroup) -> None:
        while self._scores and self._score_requests < MAX_REQUESTS:
            is_full = len(self._scores) >= REQUEST_SCORES
            is_ripe = CLOCK.monotonic() - self._scores.first()[0] >= self._gathering_s()
            if not (is_full or is_ripe):
                return
            count = min(len(self._scores), REQUEST_SCORES)
            self._score_requests += 1
            group.start_soon(self._write_scores, [self._scores.popleft()[1] for _ in range(count)])

    async def _write_scores(self, scores: list[Score]) -> None:
        refused = await self._repeat(lambda: self._gateway.scores.write(scores))
        self._journal.append(ScoresStored(ids=tuple(score.id for score in scores if score.id not in refused)))
        self._record_refusals(
            *(
                WriteRefused(kind="score", id=score.id, name=score.name, message=refused[score.id])
                for score in scores
                if score.id in refused
            )
        )
        self._score_requests -= 1
        self._wake()

    def _record_refusals(self, *refusals: WriteRefused) -> None:
        self._journal.append(*refusals)
        self.refusals += refusals

    async def _repeat(self, send: Callable[[], Awaitable[T]], *, is_divisible: Callable[[], bool] = lambda: False) -> T:
        """Repeat a request until the server has answered it.

        Raises:
            RejectedError: The server refused what was sent.
            SizeError: It is too large, but can be divided.
        """
        retries = Retries(self._policy)
        while True:
            retry_after_s: float | None = None
            try:
                answer = await send()
            except RejectedError:
                raise
            except SizeError as error:
                if is_divisible():
                    raise
                self.last_error = str(error)
            except BackendError as error:
                self.last_error = str(error)
                retry_after_s = error.retry_after if isinstance(error, RateLimitError) else None
            else:
                self._progressed = CLOCK.monotonic()
                self.last_error = None
                return answer
            delay = retries.next_delay() or 0.0
            if retry_after_s is not None:
                delay += min(retry_after_s, MAX_RETRY_AFTER_S)
                self._limited_until = CLOCK.monotonic() + delay * RATE_LIMITED_MARGIN
            await anyio.sleep(delay)
