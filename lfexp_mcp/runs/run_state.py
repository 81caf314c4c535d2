"""Replaying a journal: from its events to the state of the run."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

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

ItemKey = tuple[int, str]
"""Repetition and item id."""


@dataclass(slots=True)
class RunState:
    """The state of a run by its journal; feed it with `apply`."""

    ended: dict[ItemKey, ItemEnded] = field(default_factory=dict)
    scored: dict[ItemKey, ItemScored] = field(default_factory=dict)
    run_scored: dict[int, RunScored] = field(default_factory=dict)
    running: dict[ItemKey, datetime] = field(default_factory=dict)
    """Items that the newest worker has started and not ended, now or when it died; since when."""
    scoring: dict[ItemKey, datetime] = field(default_factory=dict)
    """Items that succeeded under the newest worker and are not scored; since when."""
    retried: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Calls that the newest worker retried, and how many of them for a rate limit, by provider."""
    attempts: Counter[ItemKey] = field(default_factory=Counter)
    """Results that each item has had."""
    evaluations: Counter[ItemKey] = field(default_factory=Counter)
    """How often each item's newest result was evaluated."""
    interrupted: set[ItemKey] = field(default_factory=set)
    """Running when an earlier worker died, and not ended since."""
    looks: list[Look] = field(default_factory=list)
    """Those that the stopping rule has taken; only the last may have a verdict."""
    has_stopped: bool = False
    """Whether a worker has ended the run by the verdict of a look; a resume goes on then."""
    stored: set[str] = field(default_factory=set)
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
    failed_count: int = 0
    ended_since_accepted: int = 0
    failed_anew: int = 0
    scored_anew: int = 0
    """Results that the newest worker has scored."""
    kept: int = 0
    """Results that had succeeded when the newest worker began."""

    def apply(self, events: Iterable[Event]) -> None:
        """Apply further events, in their order."""
        for event in events:
            self._apply(event)

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
                self.scoring.pop((event.repeat, event.item_id), None)
                # A damaged line may have held the result; its scores belong to nothing then.
                if (key := (event.repeat, event.item_id)) in self.ended:
                    if before := self.scored.get(key):
                        known = {score.id: score.timestamp for score in before.scores}
                        replaced = (score.id for score in event.scores if score.timestamp != known.get(score.id))
                        self.stored.difference_update(replaced)
                    self.scored[key] = event
                    self.evaluations[event.repeat, event.item_id] += 1
                    self.scored_anew += 1
            case RunScored():
                self.run_scored[event.repeat] = event
                self.stored.difference_update(score.id for score in event.scores)
            case LookTaken():
                self.looks.append(event.look)
            case StatusRecorded():
                self.status_scores[event.score.id] = event.score
                self.stored.discard(event.score.id)
            case ScoresStored():
                self.stored.update(event.ids)
            case ScoresMissing():
                self.stored.difference_update(event.ids)
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
        before = self.ended.get(key)
        self.failed_count += (event.status == "failed") - (before is not None and before.status == "failed")
        self.ended[key] = event
        self.attempts[key] += 1
        self.evaluations.pop(key, None)
        self.scored.pop(key, None)
        self.running.pop(key, None)
        self.interrupted.discard(key)
        self.ended_since_accepted += 1
        self.failed_anew += event.status == "failed"
        if event.status == "succeeded":
            self.scoring[key] = event.at

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
        ended = self.ended.get(key)
        return ended is not None and ended.status == "succeeded"

    def unstored_scores(self) -> Iterator[tuple[Score, ItemEnded | None, int]]:
        """Yield the scores that Langfuse neither acknowledged nor refused.

        Yields:
            The score; the item's result that it is of, None for a score of the whole run; the repetition.
        """
        settled = self.stored | {refusal.id for refusal in self.refused if refusal.kind == "score"}
        for key, scored in self.scored.items():
            for score in scored.scores:
                if score.id not in settled:
                    yield score, self.ended[key], key[0]
        for repeat, run_scored in self.run_scored.items():
            for score in run_scored.scores:
                if score.id not in settled:
                    yield score, None, repeat
        for score in self.status_scores.values():
            if score.id not in settled:
                yield score, None, 0
