"""What of a run Langfuse has to show before the run is called completed."""

from array import array
from collections import Counter
from dataclasses import dataclass
from threading import Lock

import anyio
import anyio.to_thread

from lfexp_mcp.errors import BackendError
from lfexp_mcp.gateway import Gateway, ShownResult
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.newest_events import NOWHERE
from lfexp_mcp.runs.run_state import ItemKey, RunState

PAGE_TIMEOUT_S = 30.0
"""How long a page of what Langfuse shows may take; a large run has many."""


@dataclass(frozen=True, slots=True)
class MissingRecords:
    """What Langfuse does not show."""

    results: frozenset[ItemKey] = frozenset()
    scores: frozenset[str] = frozenset()
    """By id."""

    def __len__(self) -> int:
        return len(self.results) + len(self.scores)

    def __str__(self) -> str:
        return f"{len(self.results)} results and {len(self.scores)} scores"

    def __or__(self, other: "MissingRecords") -> "MissingRecords":
        return MissingRecords(self.results | other.results, self.scores | other.scores)


class ExpectedRecords:
    """What Langfuse has to show in the end: each item's newest result, and the scores that it did not refuse.

    It is read from the journal where it is compared, page by page of what Langfuse shows, since a run may have many
    items. What was shown once, with all its scores, is not looked for again.

    Args:
        run_spec: What the run was asked to do.
        state: What earlier workers recorded; it is read on.
    """

    def __init__(self, run_spec: RunSpec, state: RunState) -> None:
        self.experiments = tuple(experiment.id for experiment in run_spec.experiments)
        self.state = state
        """The run as of the last `update`."""
        self._shown = array("q")
        """By an item's number, where in the journal the newest event of a result lies that was shown as of it."""
        self._lock = Lock()
        """Of the state, which threads read and read on."""
        self._reading = anyio.Lock()
        # Results that no worker of this machine made come from Langfuse, and could not be sent anyway.
        self._read_until = state.journal.offset if state.accepted is None else 0

    def update(self) -> RunState:
        """Read what was added to the journal, and return the state of the run. Thread-safe.

        Raises:
            StateError: It cannot be read.
        """
        with self._lock:
            self.state.read_to_end()
        return self.state

    async def find_missing(self, gateway: Gateway, page_timeout_s: float = PAGE_TIMEOUT_S) -> MissingRecords:
        """Read what Langfuse shows, newest results first, until nothing is missing; return what is.

        Args:
            gateway: Of the run's Langfuse.
            page_timeout_s: How long it may take to show a page.

        Raises:
            BackendError: It cannot be read.
            StateError: The journal cannot be read.
        """
        async with self._reading:
            left = await anyio.to_thread.run_sync(self._count_unshown)
            incomplete: dict[ItemKey, set[str]] = {}
            missing: set[str] = set()
            try:
                with anyio.fail_after(page_timeout_s) as scope:
                    for repeat, experiment_id in enumerate(self.experiments):
                        missing |= await self._missing_of_run(gateway, repeat)
                        pages = gateway.experiments.shown_results(experiment_id)
                        while left[repeat] > 0 and (page := await anext(pages, None)) is not None:
                            left[repeat] -= await anyio.to_thread.run_sync(self._compare, repeat, page, incomplete)
                            scope.deadline = anyio.current_time() + page_timeout_s
            except TimeoutError:
                raise BackendError(f"nothing came for {page_timeout_s:g} s") from None
            of_items = await anyio.to_thread.run_sync(self._not_shown, incomplete) if left.total() else MissingRecords()
            return of_items | MissingRecords(scores=frozenset(missing - self._refused()))

    async def _missing_of_run(self, gateway: Gateway, repeat: int) -> set[str]:
        """Return which scores of a repetition as a whole Langfuse does not show."""
        expected = self.state.run_scored.get(repeat)
        if expected is None or not expected.scores:
            return set()
        shown = await gateway.scores.find(experiment_id=self.experiments[repeat])
        return {score.id for score in expected.scores} - {score.id for score in shown}

    def _count_unshown(self) -> Counter[int]:
        """Count the results that are to be looked for, by repetition."""
        with self._lock:
            return Counter(key[0] for key in self.state.ended if not self._is_shown(key))

    def _compare(self, repeat: int, page: list[ShownResult], incomplete: dict[ItemKey, set[str]]) -> int:
        """Note which results are shown, and which scores of others are not; return how many are shown now.

        The rows are taken off the page, which a thread that has just ended may hold while the next one is read.
        """
        with self._lock:
            state, refused, found = self.state, self._refused(), 0
            # Others may have ended since they were counted.
            self._shown.extend([NOWHERE] * (len(state.numbers) - len(self._shown)))
            while page:
                row = page.pop()
                key = (repeat, row.item_id)
                # A resume may have replaced it by a newer one.
                is_sought = key in state.ended and not self._is_shown(key)
                if not is_sought or state.ended[key].observation_id != row.observation_id:
                    continue
                missing = self._scores(key) - row.score_ids - refused
                if missing:
                    incomplete[key] = missing
                else:
                    self._shown[state.numbers.of(key)] = self._newest_event(key)
                    found += 1
        return found

    def _not_shown(self, incomplete: dict[ItemKey, set[str]]) -> MissingRecords:
        results: list[ItemKey] = []
        scores: set[str] = set()
        with self._lock:
            ended, refused = self.state.ended, self._refused()
            for key in ended:
                if self._is_shown(key):
                    continue
                if key in incomplete:
                    scores |= incomplete[key]
                elif ended[key].observation_id not in refused:
                    scores |= self._scores(key) - refused
                    if ended.offset(key) >= self._read_until:
                        results.append(key)
        return MissingRecords(frozenset(results), frozenset(scores))

    def _is_shown(self, key: ItemKey) -> bool:
        number = self.state.numbers.of(key)
        return number < len(self._shown) and self._shown[number] == self._newest_event(key)

    def _newest_event(self, key: ItemKey) -> int:
        """Where the journal has what was recorded last of a result: itself, or its scores."""
        return max(self.state.ended.offset(key), self.state.scored.offset(key))

    def _refused(self) -> set[str]:
        return {refusal.id for refusal in self.state.refused}

    def _scores(self, key: ItemKey) -> set[str]:
        scored = self.state.scored.get(key)
        return {score.id for score in scored.scores} if scored is not None else set()
