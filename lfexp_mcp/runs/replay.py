"""From the events of a journal to the run as it stands."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from lfexp_mcp.model import (
    DatasetItem,
    EvaluatorFailure,
    ItemResult,
    ModelCaller,
    ModelUsage,
    RunPlan,
    RunRecord,
    RunSpec,
    RunStatus,
    Score,
)
from lfexp_mcp.runs.events import (
    Damaged,
    Event,
    Executed,
    ItemEnded,
    ItemScored,
    ItemStarted,
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

AT_WORK_SHOWN = 10
DAMAGED_SHOWN = 5
LOADING = "The scripts and what they import are still being loaded; no item has begun."
ItemKey = tuple[int, str]
"""Repetition and item id."""


@dataclass(slots=True)
class RunState:
    """A run as its journal tells it so far; feed it with `apply`."""

    ended: dict[ItemKey, ItemEnded] = field(default_factory=dict)
    scored: dict[ItemKey, ItemScored] = field(default_factory=dict)
    run_scored: dict[int, RunScored] = field(default_factory=dict)
    at_work: dict[ItemKey, datetime] = field(default_factory=dict)
    """Begun by the newest worker and not ended: at work now, or when it died; since when."""
    in_scoring: dict[ItemKey, datetime] = field(default_factory=dict)
    """Ended well under the newest worker and not scored; since when."""
    retried: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By provider, how many calls of the newest worker were made again, and how many of them for a rate limit."""
    attempts: Counter[ItemKey] = field(default_factory=Counter)
    """How many results each item has had."""
    evaluations: Counter[ItemKey] = field(default_factory=Counter)
    """How often each item's newest result was evaluated."""
    suspects: set[ItemKey] = field(default_factory=set)
    """At work when an earlier worker died, and not ended since."""
    stored: set[str] = field(default_factory=set)
    refused: list[WriteRefused] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    model_usage: dict[ModelCaller, ModelUsage] = field(default_factory=dict)
    status_score: Score | None = None
    """The status of the run, as Langfuse is to have it."""
    accepted: WorkerAccepted | None = None
    """The newest worker's beginning."""
    first_accepted: datetime | None = None
    loading: bool = False
    """Whether the newest worker loads the user's code, or died at that."""
    executed: bool = False
    """Whether the newest worker has run and scored all that there is."""
    run_ended: RunEnded | None = None
    """None while the newest worker is at work, and for good if it died."""
    damaged_lines: list[int] = field(default_factory=list)
    """Lines of the journal of which something is lost."""
    failed_count: int = 0
    ended_since_accepted: int = 0
    failed_anew: int = 0
    kept: int = 0
    """Good results that there were when the newest worker began."""

    def apply(self, events: Iterable[Event]) -> None:
        """Take in further events, in their order."""
        for event in events:
            self._apply(event)

    def _apply(self, event: Event) -> None:
        match event:
            case WorkerLoading():
                self.loading, self.executed, self.run_ended = True, False, None
                self._count_anew()
            case WorkerAccepted():
                self._apply_accepted(event)
            case ItemStarted():
                self.at_work[event.repeat, event.item_id] = event.at
            case ItemEnded():
                self._apply_ended(event)
            case ItemScored():
                self.in_scoring.pop((event.repeat, event.item_id), None)
                # Without its result, which a damaged line may have told, a score has nothing to be of.
                if (event.repeat, event.item_id) in self.ended:
                    self.scored[event.repeat, event.item_id] = event
                    self.evaluations[event.repeat, event.item_id] += 1
            case RunScored():
                self.run_scored[event.repeat] = event
                self.stored.difference_update(score.id for score in event.scores)
            case StatusRecorded():
                self.status_score = event.score
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
            case Executed():
                self.executed = True
            case RunEnded():
                self.loading, self.run_ended = False, event
            case Damaged():
                self.damaged_lines.append(event.line)

    def _apply_accepted(self, event: WorkerAccepted) -> None:
        self.accepted = event
        self.first_accepted = self.first_accepted or event.at
        self.loading = False
        self.warnings.clear()
        self.refused.clear()
        self.suspects |= self.at_work.keys()
        self.at_work.clear()
        self.in_scoring.clear()
        self.retried.clear()
        self._count_anew()

    def _count_anew(self) -> None:
        """Begin to count what a new worker does; it runs again what has failed."""
        self.ended_since_accepted = self.failed_anew = 0
        self.kept = len(self.ended) - self.failed_count

    def _apply_ended(self, event: ItemEnded) -> None:
        key = (event.repeat, event.item_id)
        before = self.ended.get(key)
        self.failed_count += (event.status == "failed") - (before is not None and before.status == "failed")
        self.ended[key] = event
        self.attempts[key] += 1
        self.evaluations.pop(key, None)
        self.scored.pop(key, None)
        self.at_work.pop(key, None)
        self.suspects.discard(key)
        self.ended_since_accepted += 1
        self.failed_anew += event.status == "failed"
        if event.status == "succeeded":
            self.in_scoring[key] = event.at

    def succeeded(self, key: ItemKey) -> bool:
        """Tell whether the item's newest result is a good one."""
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
        if self.status_score is not None and self.status_score.id not in settled:
            yield self.status_score, None, 0


def build_record(
    run_spec: RunSpec, items: Iterable[DatasetItem], state: RunState, status: RunStatus, last_words: str | None = None
) -> RunRecord:
    """Put order and journal together to the run as it is read.

    Args:
        run_spec: The order.
        items: The dataset items.
        state: The journal.
        status: How the run stands.
        last_words: Why its worker gave up, where the journal cannot tell.
    """
    known = list(items)
    results = tuple(_result(item, repeat, state) for repeat in range(run_spec.repeats) for item in known)
    return RunRecord(
        dataset=run_spec.dataset_name,
        dataset_id=run_spec.dataset_id,
        run_name=run_spec.run_name,
        experiment_ids=tuple(experiment.id for experiment in run_spec.experiments),
        status=status,
        items=results,
        total_items=run_spec.total_items,
        description=run_spec.description,
        created=state.first_accepted or run_spec.created,
        metadata=run_spec.metadata,
        provenance=state.accepted.provenance if state.accepted else None,
        run_scores=tuple(score for repeat in sorted(state.run_scored) for score in state.run_scored[repeat].scores),
        model_usage=dict(state.model_usage),
        warnings=(*run_spec.warnings, *_warnings(state, status, last_words)),
        plan=RunPlan(run_spec.item_count, run_spec.repeats, run_spec.judged_scores),
    )


def _result(item: DatasetItem, repeat: int, state: RunState) -> ItemResult:
    key = (repeat, item.id)
    ended = state.ended.get(key)
    if ended is None:
        return ItemResult(
            item_id=item.id,
            status="pending",
            input=item.input,
            expected_output=item.expected_output,
            metadata=item.metadata,
            repeat=repeat,
        )
    scored = state.scored.get(key)
    scores: tuple[Score, ...] = scored.scores if scored else ()
    unscored: tuple[EvaluatorFailure, ...] = scored.unscored if scored else ()
    return ItemResult(
        item_id=item.id,
        status=ended.status,
        input=item.input,
        output=ended.output,
        expected_output=item.expected_output,
        metadata=item.metadata,
        error=ended.error,
        trace_id=ended.trace_id,
        observation_id=ended.observation_id,
        started=ended.started,
        seconds=ended.seconds,
        scores=scores,
        unscored=unscored,
        repeat=repeat,
    )


def _warnings(state: RunState, status: RunStatus, last_words: str | None) -> Iterator[str]:
    if state.run_ended is not None and state.run_ended.reason is not None:
        yield state.run_ended.reason
    if state.loading and status == "running":
        yield LOADING
    if state.run_ended is None and status == "failed":
        at_work = ", ".join(repr(item_id) for _, item_id in sorted(state.at_work)[:AT_WORK_SHOWN])
        if last_words is not None:
            yield last_words
        else:
            when = "while it loaded the scripts" if state.loading else "before the run's end"
            yield f"The worker died {when}; the run's log may say why."
        if at_work and not state.loading:
            yield f"At work were items {at_work}."
    versions = Counter(ended.task_version for ended in state.ended.values() if ended.task_version is not None)
    if len(versions) > 1:
        shares = ", ".join(f"{count} of {version}" for version, count in versions.items())
        yield (
            f"The run was resumed with an edited task, so that its results are of {len(versions)} versions ({shares}): "
            "its figures stand for none of them. A new run name measures one version."
        )
    if state.damaged_lines:
        lines = ", ".join(map(str, state.damaged_lines[:DAMAGED_SHOWN]))
        yield (
            f"{len(state.damaged_lines)} records of the run's journal are damaged (line {lines}) and left out: what "
            "they told is read from Langfuse as far as it was sent, and a resume runs the rest again."
        )
    yield from state.warnings
    yield from (f"Langfuse refused {refusal.kind} {refusal.name!r}: {refusal.message}" for refusal in state.refused[:5])
    if len(state.refused) > 5:
        yield f"Langfuse refused {len(state.refused) - 5} more scores or spans; the run's journal lists them."
    for repeat in sorted(state.run_scored):
        yield from (
            f"Run evaluator {missing.name!r} failed: {missing.error}" for missing in state.run_scored[repeat].unscored
        )
