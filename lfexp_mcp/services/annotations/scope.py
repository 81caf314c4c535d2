"""Which human comments a request is about: those of a run, a dataset, traces, a queue, an author or a period."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lfexp_mcp.errors import NotFoundError
from lfexp_mcp.model import ItemResult, RunRecord
from lfexp_mcp.services.requests import CommentsRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace

MAX_RUNS_OF_DATASET = 20
"""Newest runs whose traces are searched if only a dataset is named."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which comments are meant; None is no condition."""

    description: str = "all comments of the project"
    record: RunRecord | None = None
    """The run that the comments are on, if one is named."""
    traces: frozenset[str] | None = None
    annotated: tuple[str, ...] | None = None
    """Of `traces`, those known to have annotation scores; None if unknown."""
    objects: frozenset[str] | None = None
    """Traces, observations and sessions of an annotation queue."""
    score_name: str | None = None
    queue_id: str | None = None
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    warnings: tuple[str, ...] = ()

    def includes(self, created: datetime | None) -> bool:
        """Whether a time is in the period; an unknown one is only if no period is set."""
        if created is None:
            return self.since is None and self.until is None
        return (self.since is None or created >= self.since) and (self.until is None or created < self.until)


async def resolve_scope(ws: Workspace, request: CommentsRequest) -> Scope:
    """Find the traces and objects that a request is about.

    Raises:
        NotFoundError: There is no such dataset, run or queue.
    """
    scope = Scope(
        traces=frozenset(request.trace_ids) if request.trace_ids else None,
        score_name=request.score_name,
        author=request.author,
        since=request.since,
        until=request.until,
    )
    if request.queue is not None:
        scope = await _of_queue(ws, request.queue, scope)
    if request.dataset is not None and request.run_name is not None:
        record = await read_run(ws, request.dataset, request.run_name)
        scope = replace(_on_results(record.items, scope), record=record)
    elif request.dataset is not None:
        scope = await _of_dataset(ws, request.dataset, scope)
    parts = {
        f"run {request.run_name!r} of dataset {request.dataset!r}": request.run_name,
        f"runs of dataset {request.dataset!r}": request.dataset and not request.run_name,
        f"score {request.score_name!r}": request.score_name,
        f"{len(request.trace_ids or ())} traces": request.trace_ids,
        f"author {request.author!r}": request.author,
        f"from {scope.since:%Y-%m-%d %H:%M} UTC" if scope.since else "": scope.since,
        f"until {scope.until:%Y-%m-%d %H:%M} UTC" if scope.until else "": scope.until,
        f"queue {request.queue!r}": request.queue,
    }
    description = ", ".join(part for part, given in parts.items() if given)
    return replace(scope, description=description or scope.description)


async def _of_queue(ws: Workspace, name: str, scope: Scope) -> Scope:
    queues = await ws.gateway.queues.all()
    found = next((queue for queue in queues if name in (queue.name, queue.id)), None)
    if found is None:
        known = [queue.name for queue in queues]
        raise NotFoundError.of("annotation queue", name, known, "Pass a queue's name or id, or leave queue out.")
    objects = frozenset(item.object_id for item in await ws.gateway.queues.items(found.id))
    return replace(scope, queue_id=found.id, objects=objects)


async def _of_dataset(ws: Workspace, name: str, scope: Scope) -> Scope:
    dataset = await ws.gateway.datasets.get(name)
    experiments, more = await ws.gateway.experiments.page(dataset.id, limit=MAX_RUNS_OF_DATASET)
    items = [
        item
        for experiment in experiments
        for item in await ws.gateway.experiments.results(experiment.id, dataset=dataset)
    ]
    warning = f"Only the newest {MAX_RUNS_OF_DATASET} runs were searched; name a run for older ones."
    return replace(_on_results(items, scope), warnings=(warning,) if more else ())


def _on_results(items: Sequence[ItemResult], scope: Scope) -> Scope:
    """Narrow a scope to the traces of results."""
    traces = frozenset(item.trace_id for item in items if item.trace_id)
    if scope.traces is not None:
        traces &= scope.traces
    annotated = {item.trace_id for item in items if any(score.source == "ANNOTATION" for score in item.bare_scores)}
    return replace(scope, traces=traces, annotated=tuple(sorted(traces & annotated)))
