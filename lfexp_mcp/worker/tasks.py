"""Running the task on one item."""

from dataclasses import dataclass

import anyio
from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.runs.events import ItemEnded, ItemStarted, Warned
from lfexp_mcp.worker.calling import CallTask, TaskOutput
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, Timing

FIRST_RETRY_DELAY = 0.5
LONGEST_RETRY_DELAY = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """An item whose task has ended."""

    event: ItemEnded
    output: object
    """What the task returned, before it became JSON; None for a failed one."""


class TaskRunner:
    """Runs the task, with time-out and retries, and records what came of it."""

    def __init__(
        self, call: CallTask, version: str | None, retries: int, tracer: RunTracer, recorder: Recorder
    ) -> None:
        """Prepare.

        Args:
            call: Calls the task.
            version: Tells the task from an edited one.
            retries: How often a task that failed is called again.
            tracer: Makes the items' spans.
            recorder: Journals what came of them.
        """
        self._call = call
        self._version = version
        self._retries = retries
        self._tracer = tracer
        self._recorder = recorder
        self._warned: set[str] = set()

    async def run(self, item: DatasetItem, repeat: int, attempt: int) -> Ended:
        """Run the task on one item, and submit its result to the journal.

        Args:
            item: The dataset item.
            repeat: The repetition.
            attempt: How many results the journal has of the item already.

        Raises:
            StateError: The journal cannot be written.
        """
        self._recorder.note(ItemStarted(item_id=item.id, repeat=repeat))
        with self._tracer.task(item, repeat, attempt) as span:
            outcome, timing, attempts = await self._attempt(item)
            started = CLOCK.date(timing.started_ns)
            span.set_times(started, timing.ended_ns)
            output: JsonValue = None
            if isinstance(outcome, Returned):
                output = outcome.value.stored
                self._warn_of(outcome.value.changed, item)
                span.succeed(output)
            else:
                span.fail(outcome.error, outcome.exception)
        event = ItemEnded(
            item_id=item.id,
            repeat=repeat,
            status="succeeded" if isinstance(outcome, Returned) else "failed",
            output=output,
            error=outcome.error if isinstance(outcome, Raised) else None,
            attempts=attempts,
            task_version=self._version,
            trace_id=span.task.trace_id,
            root_id=span.root.id,
            observation_id=span.task.id,
            started=started,
            seconds=timing.seconds,
        )
        self._recorder.submit(event)
        return Ended(event, outcome.value.value if isinstance(outcome, Returned) else None)

    async def _attempt(self, item: DatasetItem) -> tuple[CallResult[TaskOutput], Timing, int]:
        """Call the task until it returns, as often as the run allows; tell when the last of the calls ran."""
        started_ns = CLOCK.time_ns()
        if item.input is None:
            refused = Raised("The dataset item has no input, so the task was not called.")
            return refused, Timing(started_ns, started_ns), 0
        delay = FIRST_RETRY_DELAY
        attempt = 1
        while True:
            outcome = await self._call(item)
            if isinstance(outcome, Returned) or attempt > self._retries:
                return outcome, outcome.timing or Timing(started_ns, CLOCK.time_ns()), attempt
            attempt += 1
            await anyio.sleep(delay)
            started_ns = CLOCK.time_ns()
            delay = min(delay * 2, LONGEST_RETRY_DELAY)

    def _warn_of(self, changed: frozenset[str], item: DatasetItem) -> None:
        """Say, once of each kind, what of an output JSON cannot hold."""
        fresh = changed - self._warned
        if fresh:
            self._warned |= fresh
            self._recorder.note(
                Warned(
                    text=f"The output of item {item.id!r} holds what JSON cannot ({', '.join(sorted(fresh))}): it is "
                    "stored as text or list. Evaluators got the original; after a resume they get what is stored."
                )
            )
