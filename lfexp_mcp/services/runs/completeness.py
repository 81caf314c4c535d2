"""How much of a run Langfuse has, for a run whose journal is not on this machine: never a part for the whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from lfexp_mcp.gateway import MARK_NAME, Experiment, decode_mark, find_mark
from lfexp_mcp.model import (
    EndStatus,
    EvaluatorFailure,
    ItemResult,
    MissingScores,
    Provenance,
    RunMaker,
    RunMark,
    RunPlan,
    RunRecord,
    RunStatus,
)
from lfexp_mcp.services.runs.score_attribution import LegacyMakers, RunMakers
from lfexp_mcp.services.workspace import Workspace

NO_END = (
    "Langfuse has no end of this run: it is running on another machine, or died there. get_run there tells; "
    "run_experiment with resume=true goes on with it here."
)
NOT_IN_LANGFUSE = "Langfuse has no such score of this item."


@dataclass(frozen=True, slots=True)
class _Lacking:
    """Which results an evaluator failed on."""

    results: frozenset[tuple[int, str]]
    are_all: bool

    @classmethod
    def of(cls, missing: MissingScores) -> "_Lacking":
        return cls(frozenset(missing.results), missing.count <= len(missing.results))

    def may_hold(self, item: ItemResult) -> bool:
        """Whether the evaluator failed on an item, or may have, where not all are listed."""
        return not self.are_all or (item.repeat, item.item_id) in self.results


@dataclass(frozen=True, slots=True)
class Completeness:
    """What Langfuse tells of the whole of a run."""

    provenance: Provenance | None
    plan: RunPlan | None = None
    """None for runs of others, and of version 0.1."""
    mark: RunMark | None = None
    expected: tuple[str, ...] = ()
    """Names of the scores that every good result is to have."""
    lacking: Mapping[str, _Lacking] = field(default_factory=dict)
    """By what failed, the results that lack its scores."""

    @property
    def has_ended(self) -> bool:
        """Whether the run left its end."""
        return self.mark is not None and self.mark.status != "running"

    @property
    def judge_versions(self) -> dict[str, int]:
        """The versions of the prompts that judged it."""
        judges = self.plan.judges.values() if self.plan else ()
        return {judge.prompt: judge.version for judge in judges if judge.version is not None}

    def run_makers(self) -> RunMakers:
        """What is known of the makers of its scores."""
        makers: dict[RunMaker, None] = dict.fromkeys(self.mark.makers if self.mark else ())
        makers |= dict.fromkeys(self.plan.makers if self.plan else ())
        recorded = LegacyMakers.of(self.provenance) if self.provenance and self.plan is None else None
        return RunMakers(tuple(makers), complete=self.has_ended, recorded=recorded)

    def unscored_of(self, item: ItemResult) -> tuple[EvaluatorFailure, ...]:
        """The scores that a good result was to have, and lacks."""
        scored = {score.name for score in item.scores if score.maker.origin == "run"}
        failed = [name for name, lacking in self.lacking.items() if lacking.may_hold(item)]
        names = dict.fromkeys((*self.expected, *failed))
        return tuple(EvaluatorFailure(name, NOT_IN_LANGFUSE) for name in names if name not in scored)


def _lacking_scores(mark: RunMark | None) -> dict[str, _Lacking]:
    return {name: _Lacking.of(missing) for name, missing in mark.unscored.items()} if mark else {}


def listed_status(experiment: Experiment) -> RunStatus | None:
    """Tell how a run of another machine stands, by its entry in Langfuse's list; None for a run of others.

    Whether a run of others is whole takes a look at all of its items, and of its dataset's.
    """
    mark = find_mark(experiment.scores, experiment.id)
    if mark is None:
        provenance = Provenance.of(experiment.metadata)
        return "unknown" if provenance and provenance.plan else None
    return _ended(mark.value)


def _ended(value: float | bool | str) -> RunStatus:
    """The status that a mark stands for where its run cannot be looked at."""
    known: dict[object, EndStatus] = {status: status for status in get_args(EndStatus)}
    return known.get(value, "unknown")


async def read_completeness(ws: Workspace, head: Experiment) -> Completeness:
    """Read what Langfuse tells of the whole of a run."""
    provenance = Provenance.of(head.metadata)
    mark = None
    if find_mark(head.scores, head.id) is not None:
        score = find_mark(await ws.gateway.scores.find(experiment_id=head.id, name=MARK_NAME), head.id)
        mark = decode_mark(score) if score is not None else None
    plan = mark.plan if mark else provenance.plan if provenance else None
    recorded = tuple(provenance.scales or ()) if provenance else ()
    return Completeness(provenance, plan, mark, plan.scores if plan else recorded, _lacking_scores(mark))


async def complete(ws: Workspace, record: RunRecord, whole: Completeness) -> RunRecord:
    """Add to what Langfuse lists of a run what it is known to lack: results, scores, its end.

    Args:
        ws: The workspace.
        record: The run as listed.
        whole: What is known of the whole of it.
    """
    repeats, shown = record.provenance.repeat_count if record.provenance else 1, len(record.experiment_ids)
    if shown < repeats:
        record = _warned(record, f"Langfuse shows {shown} of the run's {repeats} repetitions.")
    record = _with_unscored(record, whole)
    if whole.plan is None:
        return await _of_unknown_plan(ws, record)
    status = _ended(whole.mark.status) if whole.mark else "unknown"
    record = replace(record, status=status, plan=whole.plan, total_items=max(whole.plan.results, len(record.items)))
    if status == "unknown":
        return _warned(record, NO_END)
    return _warned(record, whole.mark.reason) if whole.mark and whole.mark.reason else record


async def _of_unknown_plan(ws: Workspace, record: RunRecord) -> RunRecord:
    """A run of others is whole when it has all items that its dataset had when it began."""
    items = await ws.gateway.datasets.items(record.dataset)
    had = {
        item.id for item in items if item.created is None or record.created is None or item.created <= record.created
    }
    lacking = len(had - {item.item_id for item in record.items})
    if not lacking:
        return replace(record, status="completed")
    missing = f"It lacks {lacking} of the {len(had)} items that the dataset had when it began"
    return _warned(replace(record, status="unknown"), f"{missing}: nobody knows whether it was to have them.")


def _with_unscored(record: RunRecord, whole: Completeness) -> RunRecord:
    """Mark the scores that the run was to have and that an item lacks."""
    items = tuple(
        replace(item, unscored=whole.unscored_of(item)) if item.status == "succeeded" else item for item in record.items
    )
    return replace(record, items=items)


def _warned(record: RunRecord, warning: str) -> RunRecord:
    return replace(record, warnings=(*record.warnings, warning))
