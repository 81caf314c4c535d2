"""Reading a run: Langfuse's results, one per dataset item, and the journal's where Langfuse does not show them yet."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import anyio

from lfexp_mcp.errors import NotFoundError, StateError, UnreachableError
from lfexp_mcp.gateway import Dataset, Experiment, without_marks
from lfexp_mcp.model import PROVENANCE_KEY, ItemResult, JudgeMaker, Provenance, RunRecord, Score, ScriptMaker
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.services.runs.completeness import complete, read_completeness
from lfexp_mcp.services.runs.local_runs import find_run_folder, read_journal
from lfexp_mcp.services.runs.score_attribution import RunMakers, attribute_scores, newest_scores
from lfexp_mcp.services.workspace import Workspace

ANSWER_RESERVE_S = 3.0
"""What is left of a call's time for its answer when Langfuse has used up the rest."""
LANGFUSE_PATIENCE_S = 60.0
"""How long Langfuse may take for a run that the journal tells too, where a caller names no other time."""
MIN_PATIENCE_S = 0.5
DESCRIBING_S_PER_RESULT = 0.0001
"""About what it takes to put a result into an answer, for which a wait leaves time."""


async def read_run(
    ws: Workspace, dataset: str, run_name: str, *, max_age_s: float = 0, patience_s: float = LANGFUSE_PATIENCE_S
) -> RunRecord:
    """Read any run of a dataset, also one that others recorded.

    A run that is running on this machine is read from its journal. Else Langfuse's results count, and the journal adds
    what Langfuse does not show yet. A journal that cannot be read hides nothing of Langfuse's, and a Langfuse that does
    not answer in time hides nothing of the journal's. Warnings say which of these it was.

    Args:
        ws: The workspace.
        dataset: The dataset's name.
        run_name: The run's name.
        max_age_s: How old what was read from Langfuse may be, as long as the run has no new results there.
        patience_s: How long Langfuse may take for a run that the journal tells too, where the call's time allows it.

    Raises:
        NotFoundError: There is no such dataset or run; the text names those nearest.
        StateError: Only this machine knows the run, and its folder cannot be read.
        BackendError: Langfuse did not answer, and this machine does not know the run.
    """
    try:
        folder = await find_run_folder(ws, dataset, run_name)
        running = folder is not None and folder.is_at_work()
        journal = await read_journal(ws, folder) if folder is not None else None
    except StateError as unreadable:
        shown = await _read_langfuse(ws, dataset, run_name, _read_elsewhere, max_age_s)
        if shown is None:
            raise
        return _with_warning(shown, f"This is what Langfuse has of the run. {unreadable}")
    if journal is None:
        shown = await _read_langfuse(ws, dataset, run_name, _read_elsewhere, max_age_s)
        return shown or await _refuse_unknown(ws, dataset, run_name)
    if running:
        return _with_warning(journal, "The run is running: this is its journal on this machine.")

    async def read(ws: Workspace, found: Dataset, head: Experiment) -> RunRecord:
        return await _read_experiment(ws, found, head, _known_here(head, journal))

    try:
        patience_s = min(patience_s - journal.total_items * DESCRIBING_S_PER_RESULT, _time_left())
        with anyio.fail_after(max(patience_s, MIN_PATIENCE_S)):
            shown = await _read_langfuse(ws, dataset, run_name, read, max_age_s)
    except (UnreachableError, TimeoutError) as unanswered:
        reason = str(unanswered) or f"Langfuse at {ws.gateway.backend.url} has not sent the run in time."
        return _with_warning(journal, f"This is the run's journal on this machine, without human scores. {reason}")
    if shown is None:
        return _with_warning(journal, "Langfuse shows nothing of this run yet: this is its journal on this machine.")
    merged = ws.run_cache.merged
    return merged.find(shown, journal) or merged.keep(merge_journal(shown, journal), shown, journal)


def _time_left() -> float:
    """Seconds of the call's time that Langfuse may take for a run that this machine knows too."""
    return anyio.current_effective_deadline() - anyio.current_time() - ANSWER_RESERVE_S


async def _read_langfuse(
    ws: Workspace,
    dataset: str,
    run_name: str,
    read: Callable[[Workspace, Dataset, Experiment], Awaitable[RunRecord]],
    max_age_s: float,
) -> RunRecord | None:
    """Read what Langfuse has of a run; None where it has nothing."""
    found = await ws.gateway.datasets.get(dataset)
    head = await ws.gateway.experiments.find(found.id, run_name)
    if head is None:
        return None
    return await ws.run_cache.get(head, lambda: read(ws, found, head), max_age_s=max_age_s)


async def _read_elsewhere(ws: Workspace, dataset: Dataset, head: Experiment) -> RunRecord:
    """Read a run of which this machine has no journal."""
    whole = await read_completeness(ws, head)
    record = await _read_experiment(ws, dataset, head, whole.run_makers())
    return await complete(ws, record, whole)


def _known_here(head: Experiment, journal: RunRecord) -> RunMakers:
    """The makers of a run that was begun on this machine, and of what another one may have added."""
    own = {
        score.id: score.maker
        for item in journal.items
        for score in item.scores
        if isinstance(score.maker, JudgeMaker | ScriptMaker)
    }
    provenance = Provenance.of(head.metadata)
    plan = provenance.plan if provenance else None
    return RunMakers(makers=plan.makers if plan else (), ids=own)


async def with_comments(ws: Workspace, items: Sequence[ItemResult]) -> list[ItemResult]:
    """Add the comments of scores, which Langfuse leaves out of items, to the few items that an answer shows."""
    traces = [item.trace_id for item in items if item.trace_id and any(score.comment is None for score in item.scores)]
    if not traces:
        return list(items)
    known = {score.id: score for score in await ws.gateway.scores.find(trace_ids=list(dict.fromkeys(traces)))}
    return [
        replace(item, scores=tuple(_commented(score, known.get(score.id)) for score in item.scores)) for item in items
    ]


def _commented(score: Score, full: Score | None) -> Score:
    if full is None or score.comment is not None:
        return score
    return replace(full, value=score.value, data_type=score.data_type, maker=score.maker)


async def _refuse_unknown(ws: Workspace, dataset: str, run_name: str) -> NoReturn:
    found = await ws.gateway.datasets.get(dataset)
    experiments, _ = await ws.gateway.experiments.page(found.id)
    raise NotFoundError.of(
        f"run of dataset {dataset!r}",
        run_name,
        [experiment.name for experiment in experiments],
        "list_runs names all runs of the dataset; run_experiment makes one.",
    )


async def _read_experiment(ws: Workspace, dataset: Dataset, head: Experiment, known: RunMakers) -> RunRecord:
    """Read all results of a run from Langfuse, with its further repetitions."""
    provenance = Provenance.of(head.metadata)
    experiments = {0: head}
    for repeat in range(1, provenance.repeat_count if provenance else 1):
        further = await ws.gateway.experiments.find(dataset.id, repeat_name(head.name, repeat))
        if further is not None:
            experiments[repeat] = further
    items: list[ItemResult] = []
    superseded = 0
    description = head.description
    for repeat, experiment in experiments.items():
        results, described = await ws.gateway.experiments.described_results(experiment.id, repeat)
        kept = await attribute_scores(ws, experiment.id, newest_good(results), known)
        superseded += len(results) - len(kept)
        items += kept
        description = description or described
    return RunRecord(
        dataset=dataset.name,
        dataset_id=dataset.id,
        run_name=head.name,
        experiment_ids=tuple(experiment.id for experiment in experiments.values()),
        status="completed",
        items=tuple(items),
        total_items=len(items),
        description=description,
        created=head.created,
        metadata={key: value for key, value in head.metadata.items() if key != PROVENANCE_KEY},
        provenance=provenance,
        run_scores=without_marks(score for experiment in experiments.values() for score in experiment.scores),
        warnings=_superseded_warning(superseded),
    )


def _superseded_warning(superseded: int) -> tuple[str, ...]:
    if not superseded:
        return ()
    left_out = f"{superseded} of the run's results are left out, since their items have a newer one"
    return (f"{left_out}: the run name was used more than once, or the run was resumed.",)


def newest_good(results: Sequence[ItemResult]) -> list[ItemResult]:
    """Keep one result per dataset item: the newest that succeeded, else the newest.

    Returns:
        In the order in which the items were begun, oldest first.
    """
    best: dict[str, ItemResult] = {}
    for result in results:
        known = best.get(result.item_id)
        if known is None or _preference(result) > _preference(known):
            best[result.item_id] = result
    return sorted(best.values(), key=lambda result: (_started(result), result.item_id))


def _preference(result: ItemResult) -> tuple[bool, float]:
    return result.status == "succeeded", _started(result)


def _started(result: ItemResult) -> float:
    return result.started.timestamp() if result.started else 0.0


@dataclass(slots=True)
class _Filled:
    items: int = 0
    scores: int = 0


def merge_journal(record: RunRecord, journal: RunRecord) -> RunRecord:
    """Add to Langfuse's view of a run what only its journal on this machine has."""
    seen = {(item.repeat, item.item_id): item for item in record.items}
    filled = _Filled()
    items = [_filled(seen.pop((item.repeat, item.item_id), None), item, filled) for item in journal.items]
    items += seen.values()
    stored = {score.id for score in record.run_scores}
    merged = replace(
        record,
        status=journal.status,
        items=tuple(items),
        total_items=max(journal.total_items, len(items)),
        experiment_ids=journal.experiment_ids,
        description=record.description or journal.description,
        created=journal.created or record.created,
        metadata=record.metadata or journal.metadata,
        provenance=record.provenance or journal.provenance,
        run_scores=(*record.run_scores, *(score for score in journal.run_scores if score.id not in stored)),
        model_usage=journal.model_usage,
        warnings=(*record.warnings, *journal.warnings),
        plan=journal.plan,
    )
    if not filled.items and not filled.scores:
        return merged
    what = " and ".join(
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((filled.items, "result"), (filled.scores, "score"))
        if count
    )
    return _with_warning(merged, f"Langfuse does not show all yet: {what} come from the journal on this machine.")


def _filled(shown: ItemResult | None, kept: ItemResult, filled: _Filled) -> ItemResult:
    """One item, from what Langfuse shows and what the journal keeps of it."""
    if kept.status == "pending":
        return shown or kept
    if shown is None or (shown.observation_id != kept.observation_id and _supersedes(kept, shown)):
        filled.items += 1
        filled.scores += len(kept.scores)
        return kept
    if shown.observation_id != kept.observation_id:
        return shown
    visible = {score.id for score in shown.scores}
    missing = tuple(score for score in kept.scores if score.id not in visible)
    filled.scores += len(missing)
    own = {score.id: score for score in kept.scores}
    scores = tuple(_commented(score, own.get(score.id)) for score in shown.scores)
    # What a resume on another machine has scored since is missing no more.
    since = {score.name for score in shown.scores if score.id not in own and score.maker.origin == "run"}
    unscored = tuple(lost for lost in kept.unscored if lost.name not in since)
    # The journal has values as the task gave them, where Langfuse has text.
    return replace(kept, scores=newest_scores((*scores, *missing)), unscored=unscored)


def _supersedes(kept: ItemResult, shown: ItemResult) -> bool:
    if kept.status != shown.status:
        return kept.status == "succeeded"
    return kept.started is not None and (shown.started is None or kept.started > shown.started)


def _with_warning(record: RunRecord, warning: str) -> RunRecord:
    return replace(record, warnings=(*record.warnings, warning))
