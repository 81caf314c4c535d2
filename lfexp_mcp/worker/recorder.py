"""The order of writing: spans into the outbox, then events into the journal, then on."""

import asyncio

from lfexp_mcp.runs.journal import Event, JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.worker.tracing import RunTracer


class Recorder:
    """Records events, those of one round of the event loop together.

    When `record` returns, the event and all spans that ended before it outlive this process.
    """

    def __init__(self, journal: JournalWriter, outbox: Outbox, tracer: RunTracer) -> None:
        self._journal = journal
        self._outbox = outbox
        self._tracer = tracer
        self._gathered: list[tuple[Event, asyncio.Future[None]]] = []

    async def record(self, event: Event) -> None:
        """Record an event that speaks of spans.

        Raises:
            StateError: The disk is full, or the run's folder cannot be written.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._write)
        self._gathered.append((event, done))
        await done

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
        try:
            self._tracer.flush()
            self._journal.append(*(event for event, _ in gathered))
        except Exception as error:  # noqa: BLE001 - it is raised where the events come from
            for _, done in gathered:
                if not done.done():
                    done.set_exception(error)
            return
        for _, done in gathered:
            if not done.done():
                done.set_result(None)
