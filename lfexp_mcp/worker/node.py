"""The user's code in a process on a node of a cluster: calls it, and returns what a local run would have recorded.

Nothing leaves the node but what a call returns: the outcome, the spans of the call, and what was printed. The process
journals nothing and sends nothing.
"""

import contextvars
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Generic, TypeVar

from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan

from lfexp_mcp import __version__
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.environment import set_variables
from lfexp_mcp.errors import LfexpError, ScriptError
from lfexp_mcp.model import DatasetItem, Evaluation, Observation, RunSpec
from lfexp_mcp.scripts import ScriptEvaluator, Task, load_evaluators, load_task
from lfexp_mcp.scripts.modules import import_from_source
from lfexp_mcp.worker.engine import LocalEngine, TaskOutput, ToEvaluate
from lfexp_mcp.worker.isolation import RunLog
from lfexp_mcp.worker.late_sdk import open_telemetry
from lfexp_mcp.worker.node_spans import Place, SpanChanges, Within
from lfexp_mcp.worker.provenance import digests
from lfexp_mcp.worker.telemetry import BATCH, encode
from lfexp_mcp.worker.user_code import CallResult, Returned, describe_error

T = TypeVar("T")

MAX_SKEW_NS = 1_000_000_000
"""Less may be the time that a message takes."""
MAX_PRINTED_BYTES = 200_000
"""Of what was printed during one call."""
PRINTS_CUT = b"\n[lfexp-mcp: what was printed here is left out]\n"


@dataclass(frozen=True, slots=True)
class NodeJob:
    """What a process on a node is given."""

    run_spec: RunSpec
    token: str
    """Its own, for names on the node."""
    task: str | None
    """The script, below what came to the node."""
    evaluators: str | None
    sources: Mapping[str, str]
    """The digests of the user's modules that the run's worker has loaded, by name."""
    variables: Mapping[str, str] = field(repr=False)
    keeps_spans: bool


@dataclass(frozen=True, slots=True)
class Hello:
    """A process on a node, which is ready unless it has a failure."""

    version: str
    host: str
    pid: int
    failure: str | None = None
    node_id: str = ""


@dataclass(frozen=True, slots=True)
class NodeResult(Generic[T]):
    """What a call on a node comes back with."""

    outcome: CallResult[T]
    spans: bytes = b""
    """Those of the call, encoded."""
    observations: Sequence[Observation] = ()
    """The same, if the run has evaluators that look at them."""
    other_spans: bytes = b""
    """Those that ended since the last call, and belong to none that still runs."""
    printed: bytes = b""
    changes: SpanChanges | None = None
    output_id: int | None = None
    """Of a task's output, which stays on the node."""


class _OtherSpans:
    """Takes the place of the outbox."""

    def __init__(self) -> None:
        self._batches: list[bytes] = []

    def append(self, batch: bytes) -> None:
        self._batches.append(batch)

    def start_fork(self) -> None:
        """Do nothing: nobody asks a forked process for its spans."""

    def take(self) -> bytes:
        batches, self._batches = self._batches, []
        return b"".join(batches)


class NodeWorker:
    """Calls the task and the evaluators of one run in this process. Its constructor loads the scripts.

    Args:
        job: What it is given.
        files: What came to the node.
    """

    def __init__(self, job: NodeJob, files: Path) -> None:
        self._job = job
        self._files = files
        self._failure: str | None = None
        self._evaluators: dict[str, ScriptEvaluator] = {}
        self._outputs: dict[int, TaskOutput] = {}
        self._output_ids = count()
        self._other_spans = _OtherSpans()
        # Nothing of what is printed is to stay on the node.
        with TemporaryDirectory(prefix="lfexp-", ignore_cleanup_errors=True) as folder:
            prints = Path(folder, "prints")
            self._log = RunLog(prints)
            self._print_file = prints.open("rb")
        set_variables(job.variables)
        self._telemetry = open_telemetry(job.variables.get("LANGFUSE_PUBLIC_KEY", ""))
        self._telemetry.exporter.outbox = self._other_spans
        # Scripts may run an event loop while they are imported, and set context variables that their functions see.
        self._context = contextvars.copy_context()
        loading = Thread(target=self._context.run, args=[self._load], name="lfexp-load")
        loading.start()
        loading.join()

    async def hello(self) -> Hello:
        """Tell about this process."""
        return Hello(__version__, socket.gethostname(), os.getpid(), self._failure)

    async def set_clock(self, time_ns: int) -> None:
        """Go by the clock of the run's worker, if that of this node is more than a moment off."""
        if abs(CLOCK.time_ns() - time_ns) > MAX_SKEW_NS:
            CLOCK.set(time_ns)

    async def run_task(self, place: Place, item: DatasetItem) -> NodeResult[TaskOutput]:
        """Call the task; its output stays here until the number `output_id` of the result is to be forgotten."""
        with self._within(place) as within:
            outcome = await self._engine.run_task(item)
        if not isinstance(outcome, Returned):
            return self._result(outcome, within)
        output_id = next(self._output_ids)
        if self._evaluators:
            self._outputs[output_id] = outcome.value
        travelling = Returned(replace(outcome.value, value=None), outcome.timing)
        return replace(self._result(travelling, within), output_id=output_id)

    async def evaluate(
        self, place: Place, evaluator: str, result: ToEvaluate, output_id: int | None
    ) -> NodeResult[list[Evaluation]]:
        """Call an evaluator on the output with this number, or on the one that comes with `result`."""
        kept = self._outputs.get(output_id) if output_id is not None else None
        if kept is not None:
            result = replace(result, output=kept.value, stored=kept.stored)
        with self._within(place) as within:
            outcome = await self._engine.evaluate(self._evaluators[evaluator], result)
        return self._result(outcome, within)

    def forget(self, output_ids: Iterable[int]) -> None:
        """Keep outputs no longer."""
        for output_id in output_ids:
            self._outputs.pop(output_id, None)

    async def rest(self) -> NodeResult[None]:
        """Return what no call has returned: spans that ended late, and prints."""
        return self._result(Returned(None))

    def _load(self) -> None:
        try:
            self._load_scripts()
        except LfexpError as error:
            self._failure = str(error)
        except BaseException as error:  # noqa: BLE001 - whatever the node raises is told where the run is
            self._failure = describe_error(error)

    def _load_scripts(self) -> None:
        job, run_spec = self._job, self._job.run_spec
        task_script, evaluator_script = self._find(job.task), self._find(job.evaluators)
        folders = (*(script.parent for script in (task_script, evaluator_script) if script is not None), Path.cwd())
        sys.path[:0] = dict.fromkeys(map(str, folders))
        import_from_source()
        task: Task | None = None
        if task_script is not None:
            task = load_task(task_script, with_params=bool(run_spec.params))
        if evaluator_script is not None:
            self._evaluators = {each.name: each for each in load_evaluators(evaluator_script).evaluators}
        for name, digest in digests().items():
            if job.sources.get(name, digest) != digest:
                raise ScriptError(f"Module {name!r} is not what the run's worker has loaded. Run it again.")
        self._engine = LocalEngine(run_spec, task, list(self._evaluators.values()))

    def _find(self, script: str | None) -> Path | None:
        if script is None:
            return None
        path = self._files / script
        if not path.is_file():
            raise ScriptError(
                f"Script {path.name} did not reach the node: .gitignore or `excludes` in runtime_env leaves it out."
            )
        return path.resolve()

    def _result(self, outcome: CallResult[T], within: "Within | None" = None) -> NodeResult[T]:
        if within is None or within.batch.is_used:
            self._telemetry.provider.force_flush()
        spans = self._telemetry.exporter.take(within.batch) if within is not None else []
        return NodeResult(
            outcome,
            encode(spans) if spans else b"",
            _read(spans) if self._job.keeps_spans else (),
            self._other_spans.take(),
            self._printed(),
            within.changes() if within is not None else None,
        )

    @contextmanager
    def _within(self, place: Place) -> "Iterator[Within]":
        """Let spans that start within be children of the span that stands for the one of the run's worker."""
        within = Within(self._telemetry, place)
        token = context.attach(trace.set_span_in_context(within.span, context.Context()))
        batch_token = BATCH.set(within.batch)
        try:
            yield within
        finally:
            BATCH.reset(batch_token)
            context.detach(token)
            within.close()

    def _printed(self) -> bytes:
        sys.stdout.flush()
        printed = self._print_file.read(MAX_PRINTED_BYTES)
        if len(printed) == MAX_PRINTED_BYTES:
            self._print_file.seek(0, os.SEEK_END)
            printed += PRINTS_CUT
        self._log.trim()
        return printed


def _read(spans: Sequence[ReadableSpan]) -> tuple[Observation, ...]:
    # It imports the SDK, which has made these spans.
    from lfexp_mcp.worker.traces import read_span

    return tuple(map(read_span, spans))
