"""Record results: first their spans in the outbox, then their events in the journal."""

from asyncio import Event as Signal
from asyncio import get_running_loop

from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.events import Event
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.worker.tracing import RunTracer

NOT_RECORDED = (
    "A result could not be recorded, which is a bug in lfexp-mcp: the run's log has details. What is recorded is kept."
)
"""For those who wait for a record when an unexpected error occurs."""


class Recorder:
    """Records events, those of one iteration of the event loop together.

    When `record` returns, the event and all spans that ended before it outlive this process. All methods raise a
    StateError if the disk is full or the run's folder cannot be written.
    """

    def __init__(self, journal: JournalWriter, outbox: Outbox, tracer: RunTracer) -> None:
        self._journal = journal
        self._outbox = outbox
        self._tracer = tracer
        self._submitted: list[Event] = []
        self._written = Signal()
        self._failure: StateError | None = None

    def submit(self, event: Event) -> None:
        """Record an event with its spans in this iteration of the event loop; `settle` waits for that."""
        if not self._submitted:
            self._written = Signal()
            get_running_loop().call_soon(self._write)
        self._submitted.append(event)

    async def record(self, event: Event) -> None:
        """Record an event with its spans, and wait until it and all before it are recorded."""
        self.submit(event)
        await self.settle()

    async def settle(self) -> None:
        """Wait until all submitted events are recorded."""
        if self._submitted:
            await self._written.wait()
        if self._failure is not None:
            raise self._failure

    def note(self, *events: Event) -> None:
        """Record events without spans immediately."""
        self._journal.append(*events)

    def sync(self) -> None:
        """Wait until everything recorded is on the disk, spans before the events that refer to them."""
        self._outbox.sync()
        self._journal.sync()

    def _write(self) -> None:
        submitted, self._submitted = self._submitted, []
        failure: StateError | None = StateError(NOT_RECORDED)
        try:
            self._tracer.flush()
            self._journal.append(*submitted)
            failure = None
        except StateError as error:
            failure = error
        finally:
            self._failure = self._failure or failure
            self._written.set()
