"""Results and scores that a journal of this machine lacks, taken over from Langfuse."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lfexp_mcp.model import DatasetItem, ItemResult
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, ScoresStored
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.services.runs.scored_run import same_content
from lfexp_mcp.spool import Spool


def events_of(results: Iterable[ItemResult], state: RunState) -> Spool[Event]:
    """Return what other machines or tools did of a run as events of a journal.

    Scores by others are left out. Good results without any score of the run's own makers are left to be scored; of the
    others, it is not known which evaluators have scored them.

    Args:
        results: Of the run, as Langfuse shows them.
        state: What the journal has.

    Returns:
        The events, which hold the outputs of all results, on disk.
    """
    events = Spool[Event]()
    for result in results:
        if result.status != "pending":
            for event in _events(result, state):
                events.append(event)
    return events


def _events(result: ItemResult, state: RunState) -> Iterator[Event]:
    if result.trace_id is None or result.observation_id is None or result.started is None:
        raise ValueError(f"the result of item {result.item_id!r} was not read from Langfuse")
    key = (result.repeat, result.item_id)
    known, scored = state.ended.get(key), state.scored.get(key)
    failed = result.status == "failed"
    if known is None or known.observation_id != result.observation_id:
        scored = None
        yield ItemEnded(
            item_id=result.item_id,
            repeat=result.repeat,
            status="failed" if failed else "succeeded",
            output=result.output,
            error=result.error,
            trace_id=result.trace_id,
            # Langfuse does not return the root span with the result; the evaluation goes below the task instead.
            root_id=result.observation_id,
            observation_id=result.observation_id,
            started=result.started,
            seconds=result.seconds,
        )
    journaled = {score.id for score in scored.scores} if scored else set()
    new = tuple(score for score in result.scores if score.maker.origin == "run" and score.id not in journaled)
    if new and not failed:
        if scored is None:
            yield ItemScored(item_id=result.item_id, repeat=result.repeat, scores=new, unscored=result.unscored)
        else:
            yield replace(scored, scores=(*scored.scores, *new), unscored=result.unscored)
        yield ScoresStored(ids=tuple(score.id for score in new))


def items_of(results: Iterable[ItemResult], known: Sequence[DatasetItem]) -> Iterator[DatasetItem]:
    """Yield the dataset items of some results, as they were when the task got them.

    Args:
        results: Of a run.
        known: The current dataset items, or those of the run's journal; they tell numbers from texts, which Langfuse
            does not with results. One that was changed or deleted since is taken from its result.
    """
    places = {item.id: place for place, item in enumerate(known)}
    taken: set[str] = set()
    for result in results:
        if result.item_id in taken:
            continue
        taken.add(result.item_id)
        place = places.get(result.item_id)
        item = known[place] if place is not None else None
        if item is None or not same_content(item, result):
            item = DatasetItem(result.item_id, result.input, result.expected_output, result.metadata)
        yield item
