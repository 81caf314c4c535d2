"""What a run still has to do, according to its journal."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.worker.sdk import SpanBatch


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What the task made of one item."""

    item: DatasetItem
    ended: ItemEnded
    output: object
    """As the task returned it, or as JSON if it comes from the journal; None for a failed task."""
    batch: SpanBatch | None = None
    """Holds the task's spans, if they are kept; None for a result from the journal."""


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
    """The evaluators, or scores, that are missing; None for all."""
    scored: ItemScored | None = None
    """The scores it has, if only some are missing."""
    evaluation: int = 0
    """How often its result was evaluated."""


def pending_items(
    run_spec: RunSpec,
    items: Iterable[DatasetItem],
    state: RunState,
    evaluators: Collection[str],
    score_names: Collection[str],
) -> Iterator[PendingItem]:
    """Yield what is to do, by repetition and then in the order of the items.

    Items that were running when the process died come last: if one of their tasks killed it, the others are done before
    it can do so again.

    Args:
        run_spec: What the run was asked to do.
        items: The dataset items.
        state: What has been done.
        evaluators: The evaluators and judges of now; a new one scores the results that the others have scored.
        score_names: What they report as missing; what other evaluators failed on stays missing.
    """
    known = list(items)
    interrupted = state.interrupted | state.running.keys()
    last: list[PendingItem] = []
    for repeat in range(run_spec.repeats):
        for item in known:
            pending = _pending(item, repeat, state, evaluators, score_names)
            if pending is None:
                continue
            if (repeat, item.id) in interrupted:
                last.append(pending)
            else:
                yield pending
    yield from last


def _pending(
    item: DatasetItem, repeat: int, state: RunState, evaluators: Collection[str], score_names: Collection[str]
) -> PendingItem | None:
    key = (repeat, item.id)
    attempt = state.attempts[key]
    if not state.succeeded(key):
        return PendingItem(item, repeat, attempt)
    result = TaskResult(item, state.ended[key], state.ended[key].output)
    scored = state.scored.get(key)
    if scored is None:
        return PendingItem(item, repeat, attempt, result)
    missing = {failure.name for failure in scored.unscored} & set(score_names)
    if scored.evaluators is not None:
        missing |= set(evaluators).difference(scored.evaluators)
    if not missing:
        return None
    return PendingItem(item, repeat, attempt, result, frozenset(missing), scored, state.evaluations[key])
