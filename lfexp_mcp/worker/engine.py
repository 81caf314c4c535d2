"""What calls the task and the evaluators of the user's scripts: this process, or others in its place."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Protocol

from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import DatasetItem, Evaluation, RunSpec, Trace
from lfexp_mcp.scripts import ScriptEvaluator, ScriptItem, Task, read_evaluations
from lfexp_mcp.scripts.json_conversion import JsonConverter
from lfexp_mcp.worker.user_code import CallResult, UserCode, UserLoop

MAX_THREADS = 256
"""For evaluators; the task has as many as items may run at once."""


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What a task returned."""

    value: object
    """As the task returned it."""
    stored: JsonValue
    """Converted to JSON."""
    replaced: frozenset[str]
    """What JSON cannot hold and was replaced."""

    @classmethod
    def read(cls, value: object) -> "TaskOutput":
        """Convert what a task returned; see `JsonConverter.convert`."""
        converter = JsonConverter()
        return cls(value, converter.convert(value), frozenset(converter.replaced))


CallTask = Callable[[DatasetItem], Awaitable[CallResult[TaskOutput]]]
"""Calls the task on an item once, within its time-out; raises nothing that the task raises."""


@dataclass(frozen=True, slots=True)
class ToEvaluate:
    """A good result for an evaluator."""

    item: DatasetItem
    output: object
    """As the task returned it, or as JSON if it comes from the journal."""
    stored: JsonValue
    """The output as JSON."""
    seconds: float | None = None
    """What the task took; None where nothing was measured."""
    trace: Trace | None = None
    """What the task did, for an evaluator that looks at it."""


class Engine(Protocol):
    """Calls the user's code once per call, within the time-out of an item; raises nothing that the code raises.

    Spans that the code starts are children of the current span, and belong to the current batch.
    """

    async def run_task(self, item: DatasetItem) -> CallResult[TaskOutput]:
        """Call the task on an item."""
        ...

    async def evaluate(self, evaluator: ScriptEvaluator, result: ToEvaluate) -> CallResult[list[Evaluation]]:
        """Call an evaluator on a result."""
        ...

    async def finish(self) -> None:
        """Take what the calls have left behind, before the run ends."""
        ...


class Cluster(Protocol):
    """Where an engine calls the user's code, if not in this process."""

    def open(
        self,
        local: "LocalEngine",
        *,
        warn: Callable[[str], None],
        take_spans: Callable[[bytes], None],
        keeps_spans: bool,
    ) -> Engine:
        """Return the engine.

        Args:
            local: Calls built-in evaluators, which need no node.
            warn: Called with a warning.
            take_spans: Called with encoded spans that belong to no result.
            keeps_spans: Whether evaluators look at spans.
        """
        ...

    def close(self) -> None:
        """End all that the run has there."""
        ...


def connect(run_spec: RunSpec) -> Cluster | None:
    """Connect to the cluster of a run; None for a run that has none.

    Raises:
        LfexpError: The cluster cannot be used.
    """
    if run_spec.engine == "local":
        return None
    if sys.platform == "win32":
        raise UsageError("Engine `ray` needs Linux or macOS. Run without `engine`.")
    if any(find_spec(name) is None for name in ("ray", "pathspec")):
        raise UsageError(
            f"Engine `ray` needs Ray, which {sys.executable} does not have: pip install 'lfexp-mcp[ray]' there, or run "
            "without `engine`."
        )
    # Only runs on a cluster import Ray.
    from lfexp_mcp.worker.on_ray.cluster import RayCluster

    return RayCluster.connect(run_spec)


class LocalEngine:
    """Calls the user's code in this process.

    Args:
        run_spec: The run spec.
        task: The task; None where none is called.
        evaluators: Those of items.

    Attributes:
        for_evaluators: Calls evaluators.
    """

    def __init__(self, run_spec: RunSpec, task: Task | None, evaluators: Sequence[ScriptEvaluator]) -> None:
        self.task = task
        self.evaluators = evaluators
        loop, at_once = UserLoop(), run_spec.limits.max_concurrency
        self._for_task = UserCode(at_once, loop)
        self.for_evaluators = UserCode(min(max(len(evaluators), 1) * at_once, MAX_THREADS), loop)
        self._run_spec = run_spec
        self._timeout = run_spec.limits.item_timeout

    async def run_task(self, item: DatasetItem) -> CallResult[TaskOutput]:
        """See `Engine.run_task`.

        Raises:
            TypeError: There is no task.
        """
        if self.task is None:
            raise TypeError("this engine has no task")
        given = script_item(item, self._run_spec)
        params = {key: copied(value) for key, value in self._run_spec.params.items()}
        call = partial(self.task.call, given, params)
        is_async = self.task.is_async
        return await self._for_task.call(call, TaskOutput.read, is_async=is_async, timeout=self._timeout)

    async def evaluate(self, evaluator: ScriptEvaluator, result: ToEvaluate) -> CallResult[list[Evaluation]]:
        """See `Engine.evaluate`."""
        item = script_item(result.item, self._run_spec)
        call = partial(
            evaluator.call,
            input=item.input,
            # What is stored is what a resume, or a later evaluation, finds.
            output=result.stored if evaluator.built_in else result.output,
            expected_output=item.expected_output,
            metadata=item.metadata,
            item=item,
            seconds=result.seconds,
            trace=result.trace,
        )
        read = partial(read_evaluations, evaluator.name)
        return await self.for_evaluators.call(call, read, is_async=evaluator.is_async, timeout=self._timeout)

    async def finish(self) -> None:
        """See `Engine.finish`: there is nothing elsewhere."""


def script_item(item: DatasetItem, run_spec: RunSpec) -> ScriptItem:
    """Return a copy of an item for one call of a script, which may change what it gets."""
    return ScriptItem(
        id=item.id,
        input=copied(item.input),
        expected_output=copied(item.expected_output),
        metadata={key: copied(value) for key, value in item.metadata.items()},
        dataset_id=run_spec.dataset_id,
        dataset_name=run_spec.dataset_name,
    )


def copied(value: JsonValue) -> JsonValue:
    """Copy a value that the user's code may change."""
    if isinstance(value, dict):
        return {key: copied(member) for key, member in value.items()}
    if isinstance(value, list):
        return [copied(member) for member in value]
    return value
