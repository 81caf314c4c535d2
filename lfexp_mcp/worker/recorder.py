"""The order of writing: spans into the outbox, then events into the journal, then on."""

from asyncio import Event as Signal
from asyncio import get_running_loop

from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.events import Event
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.worker.confirmation import Expected
from lfexp_mcp.worker.tracing import RunTracer

NOT_RECORDED = (
    "A result could not be recorded, which is a defect of lfexp-mcp: the run's log tells more. What is recorded is "
    "kept."
)
"""For those who wait for a record that an unexpected error has ended."""


class Recorder:
    """Records events, those of one round of the event loop together.

    When `record` returns, the event and all spans that ended before it outlive this process.
    """

    def __init__(self, journal: JournalWriter, outbox: Outbox, tracer: RunTracer, expected: Expected) -> None:
        self._journal = journal
        self._outbox = outbox
        self._tracer = tracer
        self._expected = expected
        self._gathered: list[Event] = []
        self._written = Signal()
        self._failure: StateError | None = None

    def submit(self, event: Event) -> None:
        """Record an event that speaks of spans, within this round of the event loop; `record` waits for it."""
        if not self._gathered:
            self._written = Signal()
            get_running_loop().call_soon(self._write)
        self._gathered.append(event)

    async def record(self, event: Event) -> None:
        """Record an event that speaks of spans, and wait until it and all before it are recorded.

        Raises:
            StateError: The disk is full, or the run's folder cannot be written.
        """
        self.submit(event)
        await self.settle()

    async def settle(self) -> None:
        """Wait until all submitted events are recorded.

        Raises:
            StateError: The disk is full, or the run's folder cannot be written.
        """
        if self._gathered:
            await self._written.wait()
        if self._failure is not None:
            raise self._failure

    def note(self, *events: Event) -> None:
        """Record events that speak of no spans, at once.

        Raises:
            StateError: The disk is full, or the run's folder cannot be written.
        """
        self._journal.append(*events)

    def sync(self) -> None:
        """Wait until all that is recorded is on the disk, the spans before the events that speak of them.

        Raises:
            StateError: It cannot be written.
        """
        self._outbox.sync()
        self._journal.sync()

    def _write(self) -> None:
        gathered, self._gathered = self._gathered, []
        failure: StateError | None = StateError(NOT_RECORDED)
        try:
            self._tracer.flush()
            self._journal.append(*gathered)
            self._expected.note(*gathered)
            failure = None
        except StateError as error:
            failure = error
        finally:
            self._failure = self._failure or failure
            self._written.set()
