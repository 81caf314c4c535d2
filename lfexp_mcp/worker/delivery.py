"""Sending to Langfuse what a run made, until Langfuse has acknowledged it."""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BackendError, RateLimitError, RejectedError, SizeError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import Score
from lfexp_mcp.runs.events import ScoresStored, Warned, WriteRefused
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.otlp import name_spans, split_batch
from lfexp_mcp.runs.outbox import Outbox

T = TypeVar("T")

SCORES_A_REQUEST = 100
BYTES_A_REQUEST = 1_000_000
REQUESTS_AT_ONCE = 4
"""Of spans, and of scores."""
SHORTEST_GATHERING = 1.0
LONGEST_GATHERING = 15.0
"""Seconds that spans and scores are gathered for one request: a tenth of the time that the run has taken so far, within
these bounds. A short run is visible soon, and a long one needs few requests."""
TICK = 0.02
FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
TRIES_IN_PATIENCE = 6
LONGEST_WAIT = 60.0
"""Seconds that a 429 may ask for."""
MOST_JITTER = 1.25
_JITTER = random.Random()  # noqa: S311
"""One of our own: the user's code may have seeded Python's, and count on its sequence."""
DAMAGED = "in the outbox are damaged, and the spans in them are lost; results and scores are in the journal."


class Patience(NamedTuple):
    """Seconds without any success after which the end of a run gives up."""

    quiet_s: float
    limited_s: float
    """While the server answers 429, and so is known to be there."""


class Delivery:
    """Sends the outbox's files and the scores given to it, each again and again until acknowledged or refused.

    Attributes:
        refusals: What Langfuse has refused.
        trouble: Why the newest request that failed did, None since one succeeded.
    """

    def __init__(self, gateway: Gateway, outbox: Outbox, journal: JournalWriter, patience: float) -> None:
        """Prepare.

        Args:
            gateway: Where to send to.
            outbox: Holds the spans.
            journal: Told what is acknowledged or refused.
            patience: Seconds without any success that the run's end will wait; there are several tries in it.
        """
        self._longest_delay = min(patience / TRIES_IN_PATIENCE, LONGEST_DELAY)
        self._gateway = gateway
        self._outbox = outbox
        self._journal = journal
        self.refusals: list[WriteRefused] = []
        self.trouble: str | None = None
        self._scores: deque[tuple[float, Score]] = deque()
        self._started = CLOCK.monotonic()
        self._progressed = self._started
        self._limited_until = self._started
        self._span_requests = 0
        self._score_requests = 0
        self._closing = False

    def add_scores(self, scores: list[Score]) -> None:
        """Send scores that are in the journal."""
        now = CLOCK.monotonic()
        self._scores.extend((now, score) for score in scores)

    async def run(self) -> None:
        """Send what comes, until cancelled.

        Raises:
            StateError: The journal cannot be written.
        """
        async with open_group() as group:
            while True:
                self._send_spans(group)
                self._send_scores(group)
                await anyio.sleep(TICK)

    async def finish(self, patience: Callable[[], Patience]) -> bool:
        """Send all that is left.

        Args:
            patience: Tells when to give up; asked again and again.

        Returns:
            Whether everything is acknowledged.
        """
        self._closing = True
        self._progressed = CLOCK.monotonic()
        while not self._is_idle():
            now, allowed = CLOCK.monotonic(), patience()
            is_limited = now < self._limited_until
            if now - self._progressed > (allowed.limited_s if is_limited else allowed.quiet_s):
                return False
            await anyio.sleep(TICK / 2)
        return True

    def _is_idle(self) -> bool:
        requests = self._span_requests + self._score_requests
        return not requests and not self._scores and self._outbox.is_empty()

    def _gathering(self) -> float:
        elapsed = CLOCK.monotonic() - self._started
        return min(max(elapsed / 10, SHORTEST_GATHERING), LONGEST_GATHERING)

    def _send_spans(self, group: TaskGroup) -> None:
        if self._closing or self._outbox.ripe(BYTES_A_REQUEST, self._gathering()):
            self._outbox.seal()
        while self._span_requests < REQUESTS_AT_ONCE and (path := self._outbox.take()):
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

    async def _send_batch(self, batch: bytes) -> None:
        spans = name_spans(batch)
        try:
            await self._until_answered(lambda: self._gateway.observations.send(batch), gives_up_size=len(spans) > 1)
        except (RejectedError, SizeError) as refused:
            await self._send_halves(batch, spans, str(refused))

    async def _send_halves(self, batch: bytes, spans: list[tuple[str, str]], message: str) -> None:
        """Find the span that a batch was refused for; the others are sent."""
        if len(spans) > 1:
            for half in split_batch(batch):
                await self._send_batch(half)
            return
        for span_id, name in spans:
            self._outbox.refuse(span_id, batch)
            self._note_refusals(WriteRefused(kind="span", id=span_id, name=name, message=message))

    def _send_scores(self, group: TaskGroup) -> None:
        while self._scores and self._score_requests < REQUESTS_AT_ONCE:
            full = len(self._scores) >= SCORES_A_REQUEST
            ripe = CLOCK.monotonic() - self._scores[0][0] >= self._gathering()
            if not (full or ripe or self._closing):
                return
            count = min(len(self._scores), SCORES_A_REQUEST)
            self._score_requests += 1
            group.start_soon(self._send_list, [self._scores.popleft()[1] for _ in range(count)])

    async def _send_list(self, scores: list[Score]) -> None:
        refused = await self._until_answered(lambda: self._gateway.scores.write(scores))
        self._journal.append(ScoresStored(ids=tuple(score.id for score in scores if score.id not in refused)))
        self._note_refusals(
            *(
                WriteRefused(kind="score", id=score.id, name=score.name, message=refused[score.id])
                for score in scores
                if score.id in refused
            )
        )
        self._score_requests -= 1

    def _note_refusals(self, *refusals: WriteRefused) -> None:
        self._journal.append(*refusals)
        self.refusals += refusals

    async def _until_answered(self, send: Callable[[], Awaitable[T]], *, gives_up_size: bool = False) -> T:
        """Repeat a request until the server has answered for what was sent.

        Raises:
            RejectedError: The server refused what was sent.
            SizeError: It is too large for the way, and the caller can make it smaller.
        """
        delay = FIRST_DELAY
        while True:
            try:
                answer = await send()
            except RejectedError:
                raise
            except SizeError as error:
                if gives_up_size:
                    raise
                self.trouble = str(error)
            except RateLimitError as limited:
                # The server is there and says when: that is no sign that it is away.
                self.trouble = str(limited)
                delay = max(delay, min(limited.retry_after, LONGEST_WAIT))
                self._limited_until = CLOCK.monotonic() + delay * MOST_JITTER
            except BackendError as error:
                self.trouble = str(error)
            else:
                self._progressed = CLOCK.monotonic()
                self.trouble = None
                return answer
            await anyio.sleep(delay * _JITTER.uniform(1.0, MOST_JITTER))
            delay = min(delay * 2, self._longest_delay)
