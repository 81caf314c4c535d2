"""What of a run Langfuse has to show before the run is called completed."""

from collections.abc import Iterator
from dataclasses import dataclass

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, RunScored, WriteRefused
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

    Args:
        run_spec: What the run was asked to do.
        state: What earlier workers recorded.
    """

    def __init__(self, run_spec: RunSpec, state: RunState) -> None:
        self.experiments = tuple(experiment.id for experiment in run_spec.experiments)
        self._results: dict[ItemKey, str] = {}
        self._scores: dict[ItemKey, tuple[str, ...]] = {}
        self._run_scores: dict[int, tuple[str, ...]] = {}
        self._refused: set[str] = set()
        # Results that no worker of this machine made come from Langfuse, and could not be sent anyway.
        self._read = {ended.observation_id for ended in state.ended.values()} if state.accepted is None else set()
        self.add(*state.ended.values(), *state.scored.values(), *state.run_scored.values(), *state.refused)

    def add(self, *events: Event) -> None:
        """Add what was recorded or refused."""
        for event in events:
            match event:
                case ItemEnded():
                    self._results[event.repeat, event.item_id] = event.observation_id
                    self._scores.pop((event.repeat, event.item_id), None)
                case ItemScored():
                    self._scores[event.repeat, event.item_id] = tuple(score.id for score in event.scores)
                case RunScored():
                    self._run_scores[event.repeat] = tuple(score.id for score in event.scores)
                case WriteRefused():
                    self._refused.add(event.id)
                case _:
                    continue

    async def find_missing(self, gateway: Gateway) -> MissingRecords:
        """Read what Langfuse shows, and return what it does not.

        Raises:
            BackendError: It cannot be read.
        """
        missing = MissingRecords()
        for repeat, experiment_id in enumerate(self.experiments):
            results = await gateway.experiments.shown_scores(experiment_id)
            run_scores: frozenset[str] = frozenset()
            if self._run_scores.get(repeat):
                scores = await gateway.scores.find(experiment_id=experiment_id)
                run_scores = frozenset(score.id for score in scores)
            missing |= self._compare(repeat, results, run_scores)
        return missing

    def _compare(
        self, repeat: int, shown: dict[str, frozenset[str]], shown_run_scores: frozenset[str]
    ) -> MissingRecords:
        """Compare one repetition with the scores that Langfuse shows, by result, and those of the run."""
        results: set[ItemKey] = set()
        missing_scores = set(self._not_in(shown_run_scores, self._run_scores.get(repeat, ())))
        for key, observation_id in self._results.items():
            if key[0] != repeat or observation_id in self._refused:
                continue
            if observation_id not in shown and observation_id not in self._read:
                results.add(key)
            missing_scores.update(self._not_in(shown.get(observation_id, frozenset()), self._scores.get(key, ())))
        return MissingRecords(frozenset(results), frozenset(missing_scores))

    def _not_in(self, shown: frozenset[str], scores: tuple[str, ...]) -> Iterator[str]:
        return (score for score in scores if score not in shown and score not in self._refused)
