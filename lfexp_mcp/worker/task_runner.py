"""Run the task on dataset items."""

import anyio
from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.retries import Retries, RetryPolicy
from lfexp_mcp.runs.events import ItemEnded, ItemStarted, Warned
from lfexp_mcp.worker.engine import CallTask, TaskOutput
from lfexp_mcp.worker.pending import PendingItem, TaskResult
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, Timing


class TaskRunner:
    """Runs the task, calls it again up to `retries` times if it fails, and records the results."""

    def __init__(
        self, call: CallTask, version: str | None, retries: int, tracer: RunTracer, recorder: Recorder
    ) -> None:
        self._call = call
        self._version = version
        self._policy = RetryPolicy(attempts=retries + 1, first_delay_s=0.5, max_delay_s=10.0)
        self._tracer = tracer
        self._recorder = recorder
        self._warned: set[str] = set()

    async def run(self, pending: PendingItem) -> TaskResult:
        """Run the task on one item, and submit its result to the journal.

        Raises:
            StateError: The journal cannot be written.
        """
        item, repeat = pending.item, pending.repeat
        self._recorder.note(ItemStarted(item_id=item.id, repeat=repeat))
        with self._tracer.task(item, repeat, pending.attempt) as span:
            result, timing, attempts = await self._attempt(item)
            started = CLOCK.date(timing.started_ns)
            span.set_times(started, timing.ended_ns)
            output: JsonValue = None
            if isinstance(result, Returned):
                output = result.value.stored
                self._warn(result.value.replaced, item)
                span.succeed(output)
            else:
                span.fail(result.error, result.exception)
        ended = ItemEnded(
            item_id=item.id,
            repeat=repeat,
            status="succeeded" if isinstance(result, Returned) else "failed",
            output=output,
            error=result.error if isinstance(result, Raised) else None,
            attempts=attempts,
            task_version=self._version,
            trace_id=span.ids.trace_id,
            root_id=span.ids.root_id,
            observation_id=span.ids.observation_id,
            started=started,
            seconds=timing.seconds,
        )
        self._recorder.submit(ended)
        return TaskResult(item, ended, result.value.value if isinstance(result, Returned) else None, span.batch)

    async def _attempt(self, item: DatasetItem) -> tuple[CallResult[TaskOutput], Timing, int]:
        """Call the task until it succeeds or has failed too often.

        Returns:
            The last call's result and timing, and the number of calls.
        """
        started_ns = CLOCK.time_ns()
        if item.input is None:
            refused = Raised("The dataset item has no input, so the task was not called.")
            return refused, Timing(started_ns, started_ns), 0
        retries = Retries(self._policy)
        while True:
            result = await self._call(item)
            delay = None if isinstance(result, Returned) else retries.next_delay()
            if delay is None:
                calls = retries.attempts + isinstance(result, Returned)
                return result, result.timing or Timing(started_ns, CLOCK.time_ns()), calls
            await anyio.sleep(delay)
            started_ns = CLOCK.time_ns()

    def _warn(self, replaced: frozenset[str], item: DatasetItem) -> None:
        """Warn once of each kind of value that JSON cannot hold."""
        new = replaced - self._warned
        if new:
            self._warned |= new
            text = (
                f"The output of item {item.id!r} has values that JSON cannot hold ({', '.join(sorted(new))}): they are "
                "stored as text or lists. Evaluators got the original; those that score it later get what is stored."
            )
            self._recorder.note(Warned(text=text))
