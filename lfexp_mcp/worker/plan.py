"""What a run has still to do, by its journal."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from lfexp_mcp.model import DatasetItem, RunSpec
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.run_state import RunState


@dataclass(frozen=True, slots=True)
class Work:
    """One item to run, or only to evaluate."""

    item: DatasetItem
    repeat: int
    ended: ItemEnded | None = None
    """The good result that only needs scores; None where the task is to run."""
    missing: frozenset[str] | None = None
    """Names of the evaluators or scores that failed before; None for all."""
    scored: ItemScored | None = None
    """What the item has of scores, where only some are missing."""
    attempt: int = 0
    """How many results the item has had."""
    evaluation: int = 0
    """How often its result was evaluated."""


def plan_work(
    run_spec: RunSpec,
    items: Iterable[DatasetItem],
    state: RunState,
    evaluators: Collection[str],
    answerable: Collection[str],
) -> Iterator[Work]:
    """Yield what is to do, in the order of repetitions and items.

    An item that was at work when the process died comes last: should its task have killed the process, the others are
    done before it can do so again.

    Args:
        run_spec: The run's order.
        items: The dataset items.
        state: What has been done.
        evaluators: Names of the evaluators and judges of now; one that is new scores what the others have scored.
        answerable: Names under which those report a missing score; what other evaluators failed on stays missing.
    """
    known = list(items)
    suspects = state.interrupted | state.running.keys()
    late: list[Work] = []
    for repeat in range(run_spec.repeats):
        for item in known:
            work = _work(item, repeat, state, evaluators, answerable)
            if work is None:
                continue
            if (repeat, item.id) in suspects:
                late.append(work)
            else:
                yield work
    yield from late


def _work(
    item: DatasetItem, repeat: int, state: RunState, evaluators: Collection[str], answerable: Collection[str]
) -> Work | None:
    key = (repeat, item.id)
    if not state.succeeded(key):
        return Work(item, repeat, attempt=state.attempts[key])
    ended = state.ended[key]
    scored = state.scored.get(key)
    if scored is None:
        return Work(item, repeat, ended)
    missing = {each.name for each in scored.unscored} & set(answerable)
    if scored.evaluators is not None:
        missing |= set(evaluators).difference(scored.evaluators)
    if not missing:
        return None
    return Work(item, repeat, ended, frozenset(missing), scored, evaluation=state.evaluations[key])
