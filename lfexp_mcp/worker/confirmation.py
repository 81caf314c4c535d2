"""What of a run Langfuse has to show before the run is called completed."""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

import anyio
import anyio.to_thread

from lfexp_mcp.errors import BackendError
from lfexp_mcp.gateway import Gateway, ShownResult
from lfexp_mcp.model import RunSpec
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
    items.

    Args:
        run_spec: What the run was asked to do.
        state: What earlier workers recorded; it is read on.
    """

    def __init__(self, run_spec: RunSpec, state: RunState) -> None:
        self.experiments = tuple(experiment.id for experiment in run_spec.experiments)
        self.state = state
        """The run as of the last `update`."""
        self._lock = Lock()
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

    async def find_missing(self, gateway: Gateway) -> MissingRecords:
        """Read what Langfuse shows, and return what it does not.

        Raises:
            BackendError: It cannot be read.
            StateError: The journal cannot be read.
        """
        shown = bytearray(len(self.state.numbers))
        """Whether Langfuse shows an item's newest result, by the item's number."""
        missing: set[str] = set()
        try:
            with anyio.fail_after(PAGE_TIMEOUT_S) as scope:
                for repeat, experiment_id in enumerate(self.experiments):
                    run_scored = self.state.run_scored.get(repeat)
                    if run_scored is not None and run_scored.scores:
                        shown_run_scores = await gateway.scores.find(experiment_id=experiment_id)
                        missing |= {score.id for score in run_scored.scores} - {score.id for score in shown_run_scores}
                    async for page in gateway.experiments.shown_results(experiment_id):
                        missing |= await anyio.to_thread.run_sync(self._compare, repeat, page, shown)
                        scope.deadline = anyio.current_time() + PAGE_TIMEOUT_S
        except TimeoutError:
            raise BackendError(f"nothing came for {PAGE_TIMEOUT_S:g} s") from None
        refused = {refusal.id for refusal in self.state.refused}
        not_shown = await anyio.to_thread.run_sync(self._not_shown, shown, refused)
        return not_shown | MissingRecords(scores=frozenset(missing - refused))

    def _compare(self, repeat: int, page: Iterable[ShownResult], shown: bytearray) -> set[str]:
        """Note which results are shown, and return which of their scores are not."""
        missing: set[str] = set()
        state = self.state
        for row in page:
            key = (repeat, row.item_id)
            number = state.numbers.find(key)
            # A resume may have replaced it by a newer one.
            if number is not None and key in state.ended and state.ended[key].observation_id == row.observation_id:
                shown[number] = True
                missing.update(self._scores(key) - row.score_ids)
        return missing

    def _not_shown(self, shown: bytearray, refused: set[str]) -> MissingRecords:
        results: list[ItemKey] = []
        scores: set[str] = set()
        ended = self.state.ended
        for key in ended:
            if not shown[self.state.numbers.of(key)] and ended[key].observation_id not in refused:
                scores |= self._scores(key) - refused
                if ended.offset(key) >= self._read_until:
                    results.append(key)
        return MissingRecords(frozenset(results), frozenset(scores))

    def _scores(self, key: ItemKey) -> set[str]:
        scored = self.state.scored.get(key)
        return {score.id for score in scored.scores} if scored is not None else set()
