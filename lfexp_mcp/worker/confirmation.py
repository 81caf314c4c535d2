"""What of a run Langfuse has to show before the run is called completed."""

from dataclasses import dataclass

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.run_state import ItemKey, RunState


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

    It is read from the journal when it is needed, with the state of the run, since a run may have many items.

    Args:
        run_spec: What the run was asked to do.
        before: What earlier workers recorded.
    """

    def __init__(self, run_spec: RunSpec, before: RunState) -> None:
        self.experiments = tuple(experiment.id for experiment in run_spec.experiments)
        self.state = RunState(JournalReader(before.journal.path))
        """The run as of the last `update`."""
        self._ids: dict[ItemKey, str] = {}
        """The observation of each item's newest result, and the scores, as lines of a text."""
        # Results that no worker of this machine made come from Langfuse, and could not be sent anyway.
        self._read_until = before.journal.offset if before.accepted is None else 0
        self._read: set[ItemKey] = set()

    def update(self) -> RunState:
        """Read what was added to the journal, and return the state of the run.

        Raises:
            StateError: It cannot be read.
        """
        for event in self.state.read():
            match event:
                case ItemEnded():
                    key = (event.repeat, event.item_id)
                    self._ids[key] = event.observation_id
                    is_read = self.state.journal.offset < self._read_until
                    (self._read.add if is_read else self._read.discard)(key)
                case ItemScored() if (ids := self._ids.get((event.repeat, event.item_id))) is not None:
                    scores = (score.id for score in event.scores)
                    self._ids[event.repeat, event.item_id] = "\n".join((ids.partition("\n")[0], *scores))
                case _:
                    pass
        return self.state

    async def find_missing(self, gateway: Gateway) -> MissingRecords:
        """Read what Langfuse shows, and return what it does not.

        Raises:
            BackendError: It cannot be read.
        """
        results: set[ItemKey] = set()
        missing_scores: set[str] = set()
        refused = {refusal.id for refusal in self.state.refused}
        for repeat, experiment_id in enumerate(self.experiments):
            run_scored = self.state.run_scored.get(repeat)
            if run_scored is not None and run_scored.scores:
                shown_run_scores = {score.id for score in await gateway.scores.find(experiment_id=experiment_id)}
                missing_scores |= {score.id for score in run_scored.scores} - shown_run_scores
            left = {ids.partition("\n")[0]: key for key, ids in self._ids.items() if key[0] == repeat}
            async for observation_id, shown in gateway.experiments.shown_scores(experiment_id):
                if (found := left.pop(observation_id, None)) is not None:
                    missing_scores |= self._scores_of(found) - shown
            for observation_id, key in left.items():
                if observation_id in refused:
                    continue
                missing_scores |= self._scores_of(key)
                if key not in self._read:
                    results.add(key)
        return MissingRecords(frozenset(results), frozenset(missing_scores - refused))

    def _scores_of(self, key: ItemKey) -> set[str]:
        return set(self._ids[key].split("\n")[1:])
