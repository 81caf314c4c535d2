"""What of a run Langfuse has to show before the run is called completed."""

from dataclasses import dataclass

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.events import ItemEnded, ItemScored
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
        state: What earlier workers recorded; it is read on.
    """

    def __init__(self, run_spec: RunSpec, state: RunState) -> None:
        self.experiments = tuple(experiment.id for experiment in run_spec.experiments)
        self.state = state
        """The run as of the last `update`."""
        self._observations: list[str] = []
        """Of the items' newest results, by the items' numbers."""
        self._scores: list[str] = []
        """Their scores' ids, as lines of a text."""
        # Results that no worker of this machine made come from Langfuse, and could not be sent anyway.
        self._read_until = state.journal.offset if state.accepted is None else 0
        self._has_begun = False

    def update(self) -> RunState:
        """Read what was added to the journal, and return the state of the run.

        Raises:
            StateError: It cannot be read.
        """
        if not self._has_begun:
            for _, ended in self.state.ended.in_order():
                self._note_ended(ended)
            for _, scored in self.state.scored.in_order():
                self._note_scored(scored)
            self._has_begun = True
        for event in self.state.read():
            if isinstance(event, ItemEnded):
                self._note_ended(event)
            elif isinstance(event, ItemScored):
                self._note_scored(event)
        return self.state

    def _note_ended(self, event: ItemEnded) -> None:
        number = self.state.numbers.of((event.repeat, event.item_id))
        more = [""] * (number + 1 - len(self._observations))
        self._observations += more
        self._scores += more
        self._observations[number], self._scores[number] = event.observation_id, ""

    def _note_scored(self, event: ItemScored) -> None:
        number = self.state.numbers.find((event.repeat, event.item_id))
        if number is not None:
            self._scores[number] = "\n".join(score.id for score in event.scores)

    async def find_missing(self, gateway: Gateway) -> MissingRecords:
        """Read what Langfuse shows, and return what it does not.

        Raises:
            BackendError: It cannot be read.
        """
        missing: set[str] = set()
        left = dict(zip(self._observations, self._scores, strict=True))
        for repeat, experiment_id in enumerate(self.experiments):
            run_scored = self.state.run_scored.get(repeat)
            if run_scored is not None and run_scored.scores:
                shown_run_scores = {score.id for score in await gateway.scores.find(experiment_id=experiment_id)}
                missing |= {score.id for score in run_scored.scores} - shown_run_scores
            async for observation_id, shown in gateway.experiments.shown_scores(experiment_id):
                missing.update(score for score in _lines(left.pop(observation_id, "")) if score not in shown)
        refused = {refusal.id for refusal in self.state.refused}
        not_shown = left.keys() - refused
        missing.update(score for observation_id in not_shown for score in _lines(left[observation_id]))
        results = (
            key
            for key in (self.state.ended if not_shown else ())
            if self._observations[self.state.numbers.of(key)] in not_shown
            and self.state.ended.offset(key) >= self._read_until
        )
        return MissingRecords(frozenset(results), frozenset(missing - refused))


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []
