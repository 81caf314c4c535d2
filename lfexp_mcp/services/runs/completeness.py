"""How complete a run is in Langfuse, for a run without a journal on this machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import (
    SCORING_SCORE_NAME,
    STATUS_SCORE_NAME,
    Dataset,
    Experiment,
    find_status_score,
    read_recorded_status,
)
from lfexp_mcp.model import (
    EndStatus,
    EvaluatorFailure,
    ItemResult,
    Provenance,
    RecordedStatus,
    RunMaker,
    RunPlan,
    RunRecord,
    RunStatus,
    Score,
    ScriptMaker,
)
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.runs.local_runs import catch_up
from lfexp_mcp.services.runs.score_attribution import RunMakers
from lfexp_mcp.services.workspace import Workspace

NO_END = (
    "Langfuse does not know how this run ended: it is running on another machine, or died there. "
    "Check there; if it died, resume it here."
)
NOT_IN_LANGFUSE = "Langfuse has no such score of this item."


@dataclass(frozen=True, slots=True)
class _Status:
    """The status that a run, or a scoring of it, recorded."""

    recorded: RecordedStatus
    failed: Mapping[str, frozenset[tuple[int, str]] | None]
    """By score or evaluator, the results that it failed on, as repetition and item id; None if not all are listed."""

    @classmethod
    def of(cls, score: Score | None) -> "_Status | None":
        """Read the status; None if this version cannot."""
        recorded = read_recorded_status(score) if score is not None else None
        if recorded is None:
            return None
        return cls(
            recorded,
            {
                name: frozenset(missing.results) if missing.count <= len(missing.results) else None
                for name, missing in recorded.unscored.items()
            },
        )

    def failed_on(self, item: ItemResult) -> Iterator[str]:
        """The scores or evaluators that failed, or may have failed, on a result."""
        for name, results in self.failed.items():
            if results is None or (item.repeat, item.item_id) in results:
                yield name


@dataclass(frozen=True, slots=True)
class Completeness:
    """What a run recorded in Langfuse about all that it is to have."""

    provenance: Provenance | None
    """None for runs of others."""
    status: _Status | None = None
    """None for runs of others, and of version 0.1."""
    scorings: tuple[_Status, ...] = ()
    """What has scored it again, of runs of others too."""

    @property
    def recorded(self) -> RecordedStatus | None:
        """How the run stands; None as for `status`."""
        return self.status.recorded if self.status else None

    @property
    def plan(self) -> RunPlan | None:
        """What the run is to do; None for runs of others, and of version 0.1."""
        return self.recorded.plan if self.recorded else self.provenance.plan if self.provenance else None

    def run_makers(self, ids: Mapping[str, RunMaker]) -> RunMakers:
        """Return what is known of the makers of the run's scores.

        Args:
            ids: The makers of single scores, by the score's id, from a journal.
        """
        makers: dict[RunMaker, None] = dict.fromkeys(self.recorded.makers if self.recorded else ())
        makers |= dict.fromkeys(self.plan.makers if self.plan else ())
        makers |= dict.fromkeys(
            maker for one in self.scorings for maker in (*one.recorded.makers, *one.recorded.plan.makers)
        )
        # Until all has ended, scores may come of makers that nothing has recorded yet.
        has_ended = self.recorded.status != "running" if self.recorded else bool(self.scorings and not self.provenance)
        has_ended = has_ended and all(one.recorded.status != "running" for one in self.scorings)
        return RunMakers(tuple(makers), ids, complete=has_ended, legacy=None if self.plan else self.provenance)

    def unscored_of(self, item: ItemResult) -> tuple[EvaluatorFailure, ...]:
        """Return the scores that a good result should have but has not."""
        legacy = self.provenance.scales if self.provenance else None
        expected = self.plan.scores if self.plan else tuple(legacy or ())
        again = [maker for scoring in self.scorings for maker in scoring.recorded.plan.makers]
        own = (score for score in item.scores if score.maker.origin == "run")
        scored = {score.name for score in own if not any(maker.is_same(score.maker) for maker in again)}
        names = dict.fromkeys((*expected, *(self.status.failed_on(item) if self.status else ())))
        missing = [EvaluatorFailure(name, NOT_IN_LANGFUSE) for name in names if name not in scored]
        return (*missing, *(failure for scoring in self.scorings for failure in _unscored_again(scoring, item)))


def _unscored_again(status: "_Status", item: ItemResult) -> Iterator[EvaluatorFailure]:
    """What of a scoring a result lacks."""
    plan = status.recorded.plan
    for name in dict.fromkeys((*plan.judges, *status.failed_on(item))):
        functions = (maker for maker in plan.makers if isinstance(maker, ScriptMaker) and maker.function == name)
        maker = plan.judges.get(name) or next(functions, None)
        if maker is None or not any(maker.is_same(score.maker) for score in item.scores):
            yield EvaluatorFailure(name, NOT_IN_LANGFUSE, maker, status.recorded.at)


async def read_completeness(ws: Workspace, head: Experiment) -> Completeness:
    """Read what a run recorded in Langfuse about all that it is to have."""
    provenance = Provenance.of(head.metadata)
    if all(score.name not in (STATUS_SCORE_NAME, SCORING_SCORE_NAME) for score in head.scores):
        return Completeness(provenance)
    # Langfuse lists the scores of an experiment without their metadata.
    scores = await ws.gateway.scores.find(experiment_id=head.id)
    scorings = [_Status.of(score) for score in scores if score.name == SCORING_SCORE_NAME]
    return Completeness(
        provenance, _Status.of(find_status_score(scores, head.id)), tuple(one for one in scorings if one is not None)
    )


def listed_status(experiment: Experiment) -> RunStatus | None:
    """Return the status of a run of another machine by its entry in Langfuse's list.

    Returns:
        None for a run of others: whether it is complete depends on all its items, and on those of its dataset.
    """
    recorded = find_status_score(experiment.scores, experiment.id)
    if recorded is None:
        provenance = Provenance.of(experiment.metadata)
        return "unknown" if provenance and provenance.plan else None
    return status_elsewhere(recorded.value)


async def current_status(ws: Workspace, experiment: Experiment) -> RunStatus | None:
    """Return the status of a run, by its folder on this machine, or to which another machine has brought it since.

    Returns:
        None for a run of others, see `listed_status`.

    Raises:
        StateError: The folder cannot be read.
    """
    folder = ws.runs.find(experiment.id)
    status = folder.status() if folder is not None else "unknown"
    # This machine may have only scored the results of another one.
    if folder is None or status == "unknown":
        return listed_status(experiment)
    later = await read_later_end(ws, experiment, folder, status)
    return status_elsewhere(later.status) if later is not None else status


async def read_later_end(
    ws: Workspace, experiment: Experiment, folder: RunFolder, status: RunStatus
) -> RecordedStatus | None:
    """Read how far a resume on another machine has brought a run since it ended here; None if there was none.

    Args:
        experiment: The run's, as Langfuse lists it.
        folder: The run's.
        status: By its journal.

    Raises:
        StateError: The folder cannot be read.
    """
    listed = listed_status(experiment)
    if status in ("running", "unknown") or listed in (None, status):
        return None
    recorded = (await read_completeness(ws, experiment)).recorded
    replay = ws.replays.of(folder)
    await catch_up(replay)
    ended = replay.state.end
    return recorded if recorded is not None and ended is not None and recorded.at > ended.at else None


def status_elsewhere(recorded: float | bool | str) -> RunStatus:
    """What a run's recorded status means to another machine, which cannot see whether a running one has died."""
    known: dict[object, EndStatus] = {status: status for status in get_args(EndStatus)}
    return known.get(recorded, "unknown")


async def add_missing(
    ws: Workspace, dataset: Dataset, record: RunRecord, completeness: Completeness, plan: RunPlan | None
) -> RunRecord:
    """Add to a run as Langfuse lists it what it lacks: pending results, missing scores, its status.

    Args:
        dataset: The run's, as it was just read.
        record: The run as listed.
        completeness: What it recorded.
        plan: What it is to do, without held-out items; None if that is not known.
    """
    repeats = completeness.provenance.repeat_count if completeness.provenance else 1
    if len(record.experiment_ids) < repeats:
        record = record.with_warning(f"Langfuse shows {len(record.experiment_ids)} of the run's {repeats} repetitions.")
    items = tuple(
        replace(item, unscored=completeness.unscored_of(item)) if item.status == "succeeded" else item
        for item in record.items
    )
    record = replace(record, items=items)
    if completeness.scorings:
        newest = max((scoring.recorded for scoring in completeness.scorings), key=lambda recorded: recorded.at)
        record = replace(record, scoring=status_elsewhere(newest.status))
    recorded = completeness.recorded
    if plan is None:
        return await _compare_with_dataset(ws, dataset, record)
    status = status_elsewhere(recorded.status) if recorded else "unknown"
    record = replace(
        record,
        status=status,
        plan=plan,
        total_items=max(plan.results, len(record.items)),
        looks=recorded.looks if recorded else (),
    )
    if status == "unknown":
        return record.with_warning(NO_END)
    # What it left as its reason may quote any item.
    return record.with_warning(recorded.reason) if recorded and recorded.reason and not record.leaves_out else record


async def _compare_with_dataset(ws: Workspace, dataset: Dataset, record: RunRecord) -> RunRecord:
    """A run of others is complete if it has all items that its dataset had when it started."""
    items = await ws.gateway.datasets.items(dataset)
    had = {
        item.id for item in items if item.created is None or record.created is None or item.created <= record.created
    }
    missing = len(had - {item.item_id for item in record.items})
    if not missing:
        return replace(record, status="completed")
    return replace(record, status="unknown").with_warning(
        f"The run lacks {missing} of the {len(had)} items that the dataset had when the run started; it is not known "
        "whether it was meant to have them."
    )


def check_measured(record: RunRecord, what: str) -> None:
    """Refuse a replayed run where a measured one is needed.

    Args:
        what: What it is needed for, after `cannot be used`.

    Raises:
        UsageError: It was replayed.
    """
    if record.is_replayed:
        raise UsageError(
            f"Run {record.run_name!r} was answered from recorded replies, so it measured no model and cannot be used "
            f"{what}. Run it without --replay."
        )
