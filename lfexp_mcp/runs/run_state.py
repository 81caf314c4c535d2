"""Replaying a journal: from its events to the state of the run."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lfexp_mcp.model import Look, ModelCaller, ModelUsage, Score
from lfexp_mcp.runs.events import (
    BatchRecorded,
    Damaged,
    Event,
    Executed,
    ItemEnded,
    ItemScored,
    ItemStarted,
    LookTaken,
    ModelsCalled,
    ProviderRetried,
    RunEnded,
    RunScored,
    ScoresMissing,
    ScoresStored,
    StatusRecorded,
    Warned,
    WorkerAccepted,
    WorkerLoading,
    WriteRefused,
)
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.newest_events import ItemKey as ItemKey
from lfexp_mcp.runs.newest_events import ItemNumbers, NewestEvents


@dataclass(slots=True)
class RunState:
    """The state of a run by its journal; `read` brings it up to date.

    Of each item, in memory is what counts and where the rest lies: some 200 bytes, whatever the size of its output.
    """

    journal: JournalReader
    numbers: ItemNumbers = field(default_factory=ItemNumbers)
    """Of the items that have had results."""
    ended: NewestEvents[ItemEnded] = field(init=False)
    scored: NewestEvents[ItemScored] = field(init=False)
    run_scored: dict[int, RunScored] = field(default_factory=dict)
    running: dict[ItemKey, datetime] = field(default_factory=dict)
    """Items that the newest worker has started and not ended, now or when it died; since when."""
    scoring: dict[ItemKey, datetime] = field(default_factory=dict)
    """Items that succeeded under the newest worker and are not scored; since when."""
    retried: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Calls that the newest worker retried, and how many of them for a rate limit, by provider."""
    failed: set[ItemKey] = field(default_factory=set)
    """Items whose newest result is a failure."""
    task_versions: Counter[str | None] = field(default_factory=Counter)
    """How many of the newest results are of each version of the task; None where it is not known."""
    unstored: dict[str, ItemKey] = field(default_factory=dict)
    """Scores of items that Langfuse has not acknowledged, and whose they are, by id."""
    interrupted: set[ItemKey] = field(default_factory=set)
    """Running when an earlier worker died, and not ended since."""
    looks: list[Look] = field(default_factory=list)
    """Those that the stopping rule has taken; only the last may have a verdict."""
    has_stopped: bool = False
    """Whether a worker has ended the run by the verdict of a look; a resume goes on then."""
    stored: set[str] = field(default_factory=set)
    """Scores that Langfuse has acknowledged, but for those of items whose scores are in the journal."""
    refused: list[WriteRefused] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    model_usage: dict[ModelCaller, ModelUsage] = field(default_factory=dict)
    batches: dict[str, BatchRecorded] = field(default_factory=dict)
    """By tag, those that are not used."""
    status_scores: dict[str, Score] = field(default_factory=dict)
    """The status of the run and of each scoring, as Langfuse is to have them, by id."""
    accepted: WorkerAccepted | None = None
    """Of the newest worker that runs items; None for a run of which this machine has only scored the results."""
    scorer: WorkerAccepted | None = None
    """Of the newest worker, if it only scores."""
    scores_only: bool = False
    """Whether the newest worker only scores."""
    end_before: RunEnded | None = None
    """How the run had ended when it was scored again."""
    first_accepted: datetime | None = None
    loading: bool = False
    """Whether the newest worker loads the user's code, or died while it did."""
    executed: bool = False
    """Whether the newest worker has run and scored everything."""
    run_ended: RunEnded | None = None
    """The end of what the newest worker does; None while it runs, and for good if it died."""
    damaged_lines: list[int] = field(default_factory=list)
    """Lines of the journal that are damaged."""
    ended_since_accepted: int = 0
    failed_anew: int = 0
    scored_anew: int = 0
    """Results that the newest worker has scored."""
    kept: int = 0
    """Results that had succeeded when the newest worker began."""

    _further_attempts: Counter[ItemKey] = field(default_factory=Counter)
    """Results of an item beyond its first."""
    _further_evaluations: Counter[ItemKey] = field(default_factory=Counter)
    """Evaluations of an item's newest result beyond the first."""

    def __post_init__(self) -> None:
        self.ended = NewestEvents(ItemEnded, self.journal, self.numbers)
        self.scored = NewestEvents(ItemScored, self.journal, self.numbers)

    @classmethod
    def of(cls, path: Path) -> "RunState":
        """Return the state by a journal, read to its end.

        Raises:
            StateError: It cannot be read.
        """
        state = cls(JournalReader(path))
        state.read_to_end()
        return state

    def read(self, max_lines: int | None = None) -> Iterator[Event]:
        """Apply what was added to the journal, each event before it is yielded; see `JournalReader.read`."""
        for event in self.journal.read(max_lines):
            self._apply(event)
            yield event

    def read_to_end(self) -> None:
        """Apply all that was added to the journal."""
        for _ in self.read():
            pass

    def _apply(self, event: Event) -> None:
        match event:
            case WorkerLoading():
                if event.scores_only and not self.scores_only:
                    self.end_before = self.run_ended
                self.scores_only = event.scores_only
                self.loading, self.executed, self.run_ended, self.scorer = True, False, None, None
                self._count_anew()
            case WorkerAccepted():
                self._apply_accepted(event)
            case ItemStarted():
                self.running[event.repeat, event.item_id] = event.at
            case ItemEnded():
                self._apply_ended(event)
            case ItemScored():
                self._apply_scored(event)
            case RunScored():
                self.run_scored[event.repeat] = event
                self.stored.difference_update(score.id for score in event.scores)
            case LookTaken():
                self.looks.append(event.look)
            case StatusRecorded():
                self.status_scores[event.score.id] = event.score
                self.stored.discard(event.score.id)
            case ScoresStored():
                self.stored.update(name for name in event.ids if self.unstored.pop(name, None) is None)
            case ScoresMissing():
                self._apply_missing(set(event.ids))
            case WriteRefused():
                self.refused.append(event)
            case Warned():
                if event.text not in self.warnings:
                    self.warnings.append(event.text)
            case ModelsCalled():
                self.model_usage[event.user] = self.model_usage.get(event.user, ModelUsage()) + event.usage
            case ProviderRetried():
                retries, rate_limited = self.retried.get(event.provider, (0, 0))
                self.retried[event.provider] = (retries + event.retries, rate_limited + event.rate_limited)
            case BatchRecorded(status="used"):
                self.batches.pop(event.tag, None)
            case BatchRecorded():
                self.batches[event.tag] = event
            case Executed():
                self.executed = True
            case RunEnded():
                self.loading, self.run_ended = False, event
                self.has_stopped |= event.status == "stopped"
            case Damaged():
                self.damaged_lines.append(event.line)

    def _apply_accepted(self, event: WorkerAccepted) -> None:
        if self.scores_only:
            self.scorer = event
        else:
            self.accepted = event
            self.first_accepted = self.first_accepted or event.at
            self.warnings.clear()
        self.loading = False
        self.refused.clear()
        self.interrupted |= self.running.keys()
        self.running.clear()
        self.scoring.clear()
        self.retried.clear()
        self._count_anew()

    def _count_anew(self) -> None:
        """Reset the counts of the newest worker, which runs again what has failed."""
        self.ended_since_accepted = self.failed_anew = self.scored_anew = 0
        self.kept = len(self.ended) - self.failed_count

    def _apply_ended(self, event: ItemEnded) -> None:
        key = (event.repeat, event.item_id)
        if key in self.ended:
            self._further_attempts[key] += 1
            self.task_versions[self.ended[key].task_version] -= 1
        for score in self.scored[key].scores if key in self.scored else ():
            self.unstored.pop(score.id, None)
        self.ended.note(key)
        self.scored.discard(key)
        self._further_evaluations.pop(key, None)
        self.running.pop(key, None)
        self.interrupted.discard(key)
        self.ended_since_accepted += 1
        self.task_versions[event.task_version] += 1
        if event.status == "succeeded":
            self.failed.discard(key)
            self.scoring[key] = event.at
        else:
            self.failed.add(key)
            self.failed_anew += 1

    def _apply_scored(self, event: ItemScored) -> None:
        key = (event.repeat, event.item_id)
        self.scoring.pop(key, None)
        # A damaged line may have held the result; its scores belong to nothing then.
        if key not in self.ended:
            return
        known = {}
        if key in self.scored:
            self._further_evaluations[key] += 1
            known = {score.id: score.timestamp for score in self.scored[key].scores}
            for name in known.keys() - {score.id for score in event.scores}:
                self.unstored.pop(name, None)
        for score in event.scores:
            if score.id in known and score.timestamp == known[score.id]:
                continue
            if score.id in known or score.id not in self.stored:
                self.unstored[score.id] = key
            self.stored.discard(score.id)
        self.scored.note(key)
        self.scored_anew += 1

    def _apply_missing(self, ids: set[str]) -> None:
        self.stored -= ids
        sought = ids - self.unstored.keys()
        for key, scored in self.scored.items() if sought else ():
            self.unstored |= {score.id: key for score in scored.scores if score.id in sought}

    @property
    def is_recorded(self) -> bool:
        """Whether the results are those that another machine or tool recorded, and were only scored here."""
        return self.scores_only and self.accepted is None

    @property
    def end(self) -> RunEnded | None:
        """How the run itself has ended, whether or not it was scored again since."""
        if not self.scores_only:
            return self.run_ended
        before, ended = self.end_before, self.run_ended
        is_delivered = ended is not None and ended.cause is None and ended.status == "completed"
        return RunEnded(status="completed") if before and before.cause == "undelivered" and is_delivered else before

    def succeeded(self, key: ItemKey) -> bool:
        """Tell whether the item's newest result succeeded."""
        return key in self.ended and key not in self.failed

    @property
    def failed_count(self) -> int:
        """Items whose newest result is a failure."""
        return len(self.failed)

    def attempts(self, key: ItemKey) -> int:
        """Count the results that an item has had."""
        return (key in self.ended) + self._further_attempts[key]

    def evaluations(self, key: ItemKey) -> int:
        """Count how often an item's newest result was evaluated."""
        return (key in self.scored) + self._further_evaluations[key]

    def unstored_count(self) -> int:
        """Count the scores that Langfuse neither acknowledged nor refused."""
        refused = self._refused_scores()
        of_items = len(self.unstored) - sum(name in self.unstored for name in refused)
        return of_items + sum(1 for _ in self._unstored_of_run(refused))

    def unstored_scores(self) -> Iterator[tuple[Score, ItemEnded | None, int]]:
        """Yield the scores that Langfuse neither acknowledged nor refused.

        Yields:
            The score; the item's result that it is of, None for a score of the whole run; the repetition.

        Raises:
            StateError: The journal cannot be read.
        """
        refused = self._refused_scores()
        for key in dict.fromkeys(self.unstored.values()):
            for score in self.scored[key].scores:
                if score.id in self.unstored and score.id not in refused:
                    yield score, self.ended[key], key[0]
        for score, repeat in self._unstored_of_run(refused):
            yield score, None, repeat

    def _unstored_of_run(self, refused: set[str]) -> Iterator[tuple[Score, int]]:
        of_run = [(score, repeat) for repeat, scored in self.run_scored.items() for score in scored.scores]
        for score, repeat in (*of_run, *((score, 0) for score in self.status_scores.values())):
            if score.id not in self.stored and score.id not in refused:
                yield score, repeat

    def _refused_scores(self) -> set[str]:
        return {refusal.id for refusal in self.refused if refusal.kind == "score"}
