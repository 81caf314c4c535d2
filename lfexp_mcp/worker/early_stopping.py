"""Take the looks of a run's stopping rule, and stop the run at the first that has a verdict."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from statistics import fmean

import anyio.to_thread

from lfexp_mcp.model import RUN_MAKERS, Content, ItemResult, Look
from lfexp_mcp.runs.baseline import read_baseline
from lfexp_mcp.runs.events import LookTaken, Warned
from lfexp_mcp.runs.record import build_record
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.scores.interpretation import OBSERVED, interpret_scores
from lfexp_mcp.spool import Spool
from lfexp_mcp.statistics.paired import MIN_PAIRS
from lfexp_mcp.statistics.sequential import take_look
from lfexp_mcp.worker.loading import LoadedRun
from lfexp_mcp.worker.pending import PendingItem
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.stopping import Stop

STOPPED = (
    "Stopped early: look {number} has decided on {score!r}. The other items are pending; a resume runs them, and the "
    "verdict stands."
)
NOT_TAKEN = "The look at the first {items} items was not taken, and the run will not stop early: {why}."


class EarlyStopping:
    """Looks at the first items of a run's order as soon as all of them are done, whichever items ended before them.

    Args:
        run: The run.
        recorder: Journals the looks, each before it takes effect, so that none is taken twice.
        stop: Stops the run.
    """

    def __init__(self, run: LoadedRun, recorder: Recorder, stop: Stop) -> None:
        self._run = run
        self._rule = run.run_spec.stopping
        self._recorder = recorder
        self._stop = stop
        self._baseline = read_baseline(run.folder) if self._rule is not None and not run.scores_only else {}
        self._order = [item.id for item in run.items() if item.id in self._baseline] if self._baseline else []
        self._left: Counter[str] = Counter()
        """Results that each item still lacks."""
        self._done = 0
        """Items of the order that are done, with all before them."""
        self._taken = len(run.state.looks)
        self._is_looking = False

    @property
    def is_active(self) -> bool:
        """Whether the run may stop early."""
        return bool(self._baseline)

    async def begin(self, pending: Iterable[PendingItem]) -> Iterator[PendingItem]:
        """Take the looks that are due before anything is run, and return what is to be run.

        A verdict that a worker did not live to carry out is carried out first; one that stopped the run before is not
        taken again.
        """
        # They are gone through to count what each lacks, and lie on disk until they are run.
        items = Spool[PendingItem]()
        for each in pending:
            items.append(each)
            self._left[each.item.id] += 1
        if self._rule is not None:
            # SciPy is imported before the items run, since they go on while a look is taken.
            await anyio.to_thread.run_sync(take_look, self._rule, 1, [(0.0, 1.0)] * MIN_PAIRS)
        looks, verdict = self._run.state.looks, None
        if looks and looks[-1].verdict is not None:
            self._order, verdict = [], looks[-1]
        if verdict is not None and not self._run.state.has_stopped:
            self._request_stop(verdict)
        await self._look_if_due()
        return (items[place] for place in range(len(items)))

    async def count(self, pending: PendingItem) -> None:
        """Count a result that has ended, with its scores."""
        if self._order:
            self._left[pending.item.id] -= 1
            await self._look_if_due()

    async def _look_if_due(self) -> None:
        while self._done < len(self._order) and self._left[self._order[self._done]] <= 0:
            self._done += 1
        if self._is_looking:
            return
        self._is_looking = True
        while self._stop.status is None and self._is_due():
            await self._look()
        self._is_looking = False

    def _is_due(self) -> bool:
        # At the last size there is nothing left to stop.
        return self._rule is not None and any(self._done >= size for size in self._rule.sizes[self._taken : -1][:1])

    async def _look(self) -> None:
        taken = await anyio.to_thread.run_sync(self._take)
        if isinstance(taken, str):
            self._order, self._done = [], 0
            self._recorder.note(Warned(text=taken))
            return
        self._taken = taken.number
        self._recorder.note(LookTaken(look=taken))
        await anyio.to_thread.run_sync(self._recorder.sync)
        if taken.verdict is not None:
            self._request_stop(taken)

    def _take(self) -> Look | str:
        """Take the next look, by what the journal has; return why it cannot be taken."""
        rule, run_spec = self._rule, self._run.run_spec
        if rule is None:
            raise ValueError("the run has no stopping rule")
        item_ids, state = self._order[: rule.sizes[self._taken]], self._run.folder.read_state()
        repeats = range(run_spec.repeats)
        results = tuple(_result(state, (repeat, item_id)) for item_id in item_ids for repeat in repeats)
        record = build_record(run_spec, results, state, "running")
        how = interpret_scores(record, run_spec.score_scales).get(rule.score)
        if how is None or not how.is_canonical or how.mixed or how.scale_source == OBSERVED:
            why = "no value" if how is None else "several makers" if how.mixed else "no declared scale"
            return NOT_TAKEN.format(items=len(item_ids), why=f"{rule.score!r} has {why} there")
        found: dict[str, list[float]] = {}
        for result in results:
            for score in filter(how.counts, result.scores):
                if (value := how.canonical(score)) is not None:
                    found.setdefault(result.item_id, []).append(value)
        pairs = [(self._baseline[item_id], fmean(values)) for item_id, values in found.items()]
        missing = [self._baseline[item_id] for item_id in item_ids if item_id not in found]
        if not pairs:
            return NOT_TAKEN.format(items=len(item_ids), why=f"{rule.score!r} has only labels there")
        look = take_look(rule, self._taken + 1, pairs, missing)
        return replace(look, makers=tuple(maker for maker in how.makers if isinstance(maker, RUN_MAKERS)))

    def _request_stop(self, look: Look) -> None:
        if self._rule is not None:
            self._stop.request("stopped", STOPPED.format(number=look.number, score=self._rule.score))


def _result(state: RunState, key: ItemKey) -> ItemResult:
    """Return a result with its scores, which are all that a look is at."""
    ended = state.ended.get(key)
    if ended is None:
        return ItemResult(key[1], "pending", repeat=key[0])
    scored = state.scored.get(key)
    return ItemResult(
        key[1],
        ended.status,
        Content(output=ended.output),
        ended.error,
        scores=scored.scores if scored else (),
        unscored=scored.unscored if scored else (),
        repeat=key[0],
    )
