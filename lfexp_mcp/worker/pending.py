"""What a run still has to do, according to its journal."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.worker.telemetry import SpanBatch


class OutputElsewhere:
    """Stands for an output that stays where the task ran."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What the task made of one item."""

    item: DatasetItem
    ended: ItemEnded
    output: object
    """As the task returned it, or as JSON if it comes from the journal; None for a failed task."""
    batch: SpanBatch | None = None
    """Holds the task's spans, if they are kept; None for a result from the journal."""

    @property
    def output_here(self) -> object:
        """The output, as JSON if it stays elsewhere."""
        return self.ended.output if isinstance(self.output, OutputElsewhere) else self.output


@dataclass(frozen=True, slots=True)
class PendingItem:
    """One item to run, or only to evaluate."""

    item: DatasetItem
    repeat: int
    attempt: int = 0
    """How many results the item has had."""
    result: TaskResult | None = None
    """A good result that only needs scores; None if the task has to run."""
    missing: frozenset[str] | None = None
    """Keys of the evaluators that have to score it; None for all."""
    scored: ItemScored | None = None
    """The scores it has, if only some are missing."""
    evaluation: int = 0
    """How often its result was evaluated."""


def pending_items(
    run_spec: RunSpec,
    items: Callable[[], Iterable[DatasetItem]],
    state: RunState,
    needed: Callable[[ItemScored], frozenset[str]],
    *,
    scores_only: bool = False,
) -> Iterator[PendingItem]:
    """Yield what is to do, by repetition and then in the order of the items.

    A run that may stop early goes by item instead. Items that were running when the process died come last: if one of
    their tasks killed it, the others are done before it can do so again. In a confirmation a failure is final, unless
    nothing has succeeded: a task that fails by chance must not get another chance there.

    Args:
        run_spec: What the run was asked to do.
        items: Reads the dataset items, which are many: only those that are at work are in memory.
        state: What has been done.
        needed: Returns the keys of the current evaluators and judges that have not scored a result.
        scores_only: Leave out what the task would have to run for.
    """
    repeats = range(run_spec.repeats)
    places = ((repeat, item) for repeat in repeats for item in run_spec.open_items(items()))
    if run_spec.stopping is not None:
        # Its looks are at whole items, in their order.
        places = ((repeat, item) for item in run_spec.open_items(items()) for repeat in repeats)
    is_final = run_spec.confirmation is not None and any(map(state.succeeded, state.ended))
    interrupted = state.interrupted | state.running.keys()
    if run_spec.stopping is not None and state.run_ended is not None:
        # They were given up at an orderly end, and all looks would wait for them.
        interrupted = set()
    last: list[PendingItem] = []
    for repeat, item in places:
        pending = _pending(item, repeat, state, needed)
        if pending is None or (scores_only and pending.result is None):
            continue
        if is_final and pending.result is None and (repeat, item.id) in state.ended:
            continue
        if (repeat, item.id) in interrupted:
            last.append(pending)
        else:
            yield pending
    yield from last


def announcing_last(items: Iterator[PendingItem], announce: Callable[[], object]) -> Iterator[PendingItem]:
    """Yield the items, and announce the last one before it is yielded."""
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        if following is None:
            announce()
        yield item
        item = following


def _pending(
    item: DatasetItem, repeat: int, state: RunState, needed: Callable[[ItemScored], frozenset[str]]
) -> PendingItem | None:
    key = (repeat, item.id)
    attempt = state.attempts(key)
    if not state.succeeded(key):
        return PendingItem(item, repeat, attempt)
    scored = state.scored.get(key)
    missing = needed(scored) if scored is not None else None
    if scored is not None and not missing:
        return None
    ended = state.ended[key]
    evaluation = state.evaluations(key)
    return PendingItem(item, repeat, attempt, TaskResult(item, ended, ended.output), missing, scored, evaluation)
