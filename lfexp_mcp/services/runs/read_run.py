"""Reading a run: Langfuse's results, one per dataset item, and the journal's where Langfuse does not show them yet."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import anyio
import anyio.to_thread

from lfexp_mcp.errors import NotFoundError, StateError, UnreachableError
from lfexp_mcp.gateway import Dataset, Experiment, without_status_scores
from lfexp_mcp.model import PROVENANCE_KEY, RUN_MAKERS, ItemResult, Provenance, RunRecord
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.scores.score_names import name_scores
from lfexp_mcp.services.next_steps import list_runs_step
from lfexp_mcp.services.runs.completeness import NO_END, add_missing, read_completeness, read_later_end
from lfexp_mcp.services.runs.held_out import check_confirmation, check_plan, open_plan, without_whole
from lfexp_mcp.services.runs.local_runs import locate_run, read_journal
from lfexp_mcp.services.runs.merged_run import commented, merge_journal
from lfexp_mcp.services.runs.score_attribution import RunMakers, attribute_scores
from lfexp_mcp.services.workspace import Workspace

READING_PATIENCE_S = 60.0
"""How long it may take to read a run that has a journal on this machine, unless the caller states another time."""
ANSWER_RESERVE_S = 1.0
"""The part of a call's time that is kept for its answer, whatever the size of the run."""
DESCRIBING_S_PER_RESULT = 0.00003
"""About how long it takes to put a result into an answer, on a busy machine; it is kept of the call's time as well."""
LANGFUSE_S_PER_RESULT = 0.0002
"""How long Langfuse takes to send a result if it is near. A run that it cannot send in time is read in the background.
"""

RUNNING = "The run is running: this is its journal on this machine."
SILENT = "Its worker has shown no sign of life for {:.0f} s. It goes on if it is only suspended; cancel_run ends it."
MAX_SILENCE_S = 20.0


async def read_run(
    ws: Workspace, dataset: str, run_name: str, *, max_age_s: float = 0, until: float | None = None
) -> RunRecord:
    """Read any run of a dataset as `read_recorded_run` does, with its scores named by `name_scores`."""
    return await named(ws, await read_recorded_run(ws, dataset, run_name, max_age_s=max_age_s, until=until))


async def named(ws: Workspace, record: RunRecord) -> RunRecord:
    """Return a run with its scores named by `name_scores`; for the same record the same."""
    memo = ws.run_cache.named
    return memo.find(record) or memo.keep(await anyio.to_thread.run_sync(name_scores, record), record)


async def read_recorded_run(
    ws: Workspace,
    dataset: str,
    run_name: str,
    *,
    max_age_s: float = 0,
    until: float | None = None,
    held_out: bool = False,
) -> RunRecord:
    """Read any run of a dataset, including runs that others recorded. Its scores have their own names.

    A run that is running on this machine is read from its journal. Otherwise Langfuse's results count, and the journal
    adds what Langfuse does not show yet. If the journal cannot be read, Langfuse's results are returned; if Langfuse
    does not answer in time, the journal's are. Warnings say which of these it was.

    Args:
        max_age_s: How old a cached reading may be, as long as the run has no new results in Langfuse.
        until: When an answer about a run that has a journal on this machine is due, on anyio's clock; by default half
            of the call's time may be used.
        held_out: Read a run over held-out items, and no other.

    Raises:
        NotFoundError: There is no such dataset or run; the text names the nearest.
        UsageError: It is a run over held-out items, of which only confirm_run speaks.
        UnreadError: There was no time to read its journal.
        StateError: Langfuse does not have the run, and its folder on this machine cannot be read.
        BackendError: Langfuse did not answer, and this machine does not know the run.
    """
    if until is None:
        # The other half of a call's time is for what it does with the run.
        half = (anyio.current_effective_deadline() - anyio.current_time()) / 2
        until = anyio.current_time() + min(READING_PATIENCE_S, half)
    until = min(until, anyio.current_effective_deadline() - ANSWER_RESERVE_S)
    located, journal, running, silent_s = None, None, False, 0.0
    try:
        located, folder = await locate_run(ws, dataset, run_name)
        if folder is not None:
            check_confirmation(dataset, run_name, folder.run_spec().confirmation, held_out=held_out)
            running, silent_s = folder.is_running(), folder.worker.silent_s()
            journal = await read_journal(ws, folder, until, dataset=located, held_out=held_out)
    except StateError as unreadable:
        found = await _read_langfuse(ws, located or dataset, run_name, None, max_age_s, held_out=held_out)
        if found is None:
            raise
        return found[0].with_warning(f"This is what Langfuse has of the run. {unreadable}")
    if journal is None:
        found = await _read_langfuse(ws, located or dataset, run_name, None, max_age_s, held_out=held_out)
        return found[0] if found else await _refuse_unknown(ws, located or dataset, run_name)
    if running:
        return journal.with_warning(RUNNING if silent_s < MAX_SILENCE_S else f"{RUNNING} {SILENT.format(silent_s)}")
    return await _merge_langfuse(ws, located or dataset, journal, max_age_s, until, held_out=held_out)


async def _merge_langfuse(
    ws: Workspace, dataset: Dataset | str, journal: RunRecord, max_age_s: float, until: float, *, held_out: bool
) -> RunRecord:
    """Merge what Langfuse has of a run of this machine, if it sends it in time, with the run's journal."""
    due = until - ANSWER_RESERVE_S - journal.total_items * DESCRIBING_S_PER_RESULT
    try:
        with anyio.fail_after(due - anyio.current_time()):
            found = await _read_langfuse(ws, dataset, journal.run_name, journal, max_age_s, due, held_out=held_out)
    except (UnreachableError, TimeoutError) as error:
        reason = str(error) or f"Langfuse at {ws.gateway.backend.url} has not sent the run in time."
        return journal.with_warning(f"This is the run's journal on this machine, without human scores. {reason}")
    if found is None:
        return journal.with_warning("Langfuse shows nothing of this run yet: this is its journal on this machine.")
    shown, age = found
    memo = ws.run_cache.merged
    merged = memo.find(shown, journal)
    if merged is None:
        merged = memo.keep(await anyio.to_thread.run_sync(merge_journal, shown, journal), shown, journal)
    if age <= max_age_s:
        return merged
    return merged.with_warning(f"Langfuse was read {age:.0f} s ago. Call with a longer wait to see what it has now.")


async def _read_langfuse(
    ws: Workspace,
    dataset: Dataset | str,
    run_name: str,
    journal: RunRecord | None,
    max_age_s: float,
    until: float = math.inf,
    *,
    held_out: bool,
) -> tuple[RunRecord, float] | None:
    """Read what Langfuse has of a run, see `RunCache.get`; None if it has nothing.

    Without a journal on this machine, what the run is to have is read from Langfuse too.
    """
    found = await ws.gateway.datasets.get(dataset) if isinstance(dataset, str) else dataset
    head = await ws.gateway.experiments.find(found.id, run_name)
    if head is None:
        return None
    provenance = Provenance.of(head.metadata)
    check_confirmation(found.name, run_name, provenance.confirmation if provenance else None, held_out=held_out)
    check_plan(found, provenance.plan if provenance else None)

    async def read() -> RunRecord:
        if journal is not None and journal.status != "unknown":
            # A resume on another machine may have added scores; the journal's own have their makers.
            known = RunMakers(provenance.plan.makers if provenance and provenance.plan else ())
            record, _ = await _read_results(ws, found, head, known, held_out=held_out, journal=journal)
            folder = ws.runs.find(journal.experiment_ids[0])
            later = await read_later_end(ws, head, folder, journal.status) if folder is not None else None
            if later is None:
                return record
            record = replace(record, status=later.status, looks=later.looks)
            return record.with_warning(NO_END) if later.status == "running" else record
        completeness = await read_completeness(ws, head)
        scores = journal.scores if journal is not None else ()
        ids = {score.id: score.maker for score in scores if isinstance(score.maker, RUN_MAKERS)}
        makers = completeness.run_makers(ids)
        record, left_out = await _read_results(ws, found, head, makers, held_out=held_out)
        plan = completeness.plan
        if plan is not None and not held_out:
            plan = await open_plan(ws, found, record, plan, left_out)
        return await add_missing(ws, found, record, completeness, plan)

    takes_s = journal.total_items * LANGFUSE_S_PER_RESULT if journal is not None else 0
    return await ws.run_cache.get(head, read, holdout=found.holdout, max_age_s=max_age_s, until=until, takes_s=takes_s)


async def with_comments(ws: Workspace, items: Sequence[ItemResult]) -> list[ItemResult]:
    """Add the comments of scores, which Langfuse does not list with items, to the items that an answer shows."""
    traces = [item.trace_id for item in items if item.trace_id and any(score.comment is None for score in item.scores)]
    if not traces:
        return list(items)
    known = {score.id: score for score in await ws.gateway.scores.find(trace_ids=list(dict.fromkeys(traces)))}
    return [
        replace(item, scores=tuple(commented(score, known.get(score.id)) for score in item.scores)) for item in items
    ]


async def _refuse_unknown(ws: Workspace, dataset: Dataset | str, run_name: str) -> NoReturn:
    found = await ws.gateway.datasets.get(dataset) if isinstance(dataset, str) else dataset
    experiments, _ = await ws.gateway.experiments.page(found.id)
    raise NotFoundError.of(
        f"run of dataset {found.name!r}",
        run_name,
        [experiment.name for experiment in experiments],
        next=[list_runs_step(found.name)],
    )


async def _read_results(
    ws: Workspace,
    dataset: Dataset,
    head: Experiment,
    known: RunMakers,
    *,
    held_out: bool,
    journal: RunRecord | None = None,
) -> tuple[RunRecord, frozenset[str]]:
    """Read the results of a run from Langfuse, with its further repetitions; also return which items are left out."""
    provenance = Provenance.of(head.metadata)
    experiments = {0: head}
    for repeat in range(1, provenance.repeat_count if provenance else 1):
        further = await ws.gateway.experiments.find(dataset.id, repeat_name(head.name, repeat))
        if further is not None:
            experiments[repeat] = further
    items: list[ItemResult] = []
    superseded = 0
    left_out: frozenset[str] = frozenset()
    description = head.description
    for repeat, experiment in experiments.items():
        found = await ws.gateway.experiments.described_results(
            experiment.id,
            repeat,
            dataset=dataset,
            held_out=held_out,
            # Without a name here it takes memory only while the results are read.
            known=_ended_items(journal, repeat) if journal is not None else {},
        )
        newest = await anyio.to_thread.run_sync(newest_good, found.results)
        kept = await attribute_scores(ws, experiment.id, newest, known)
        superseded += len(found.results) - len(kept)
        items += kept
        left_out |= found.held_out
        description = description or found.description
    record = RunRecord(
        dataset=dataset.name,
        dataset_id=dataset.id,
        run_name=head.name,
        experiment_ids=tuple(experiment.id for experiment in experiments.values()),
        status="unknown",
        items=tuple(items),
        total_items=len(items),
        description=description,
        created=head.created,
        metadata={key: value for key, value in head.metadata.items() if key != PROVENANCE_KEY},
        provenance=provenance,
        run_scores=without_status_scores(score for experiment in experiments.values() for score in experiment.scores),
    ).without_measures()
    if left_out and not held_out:
        record = without_whole(record)
    if superseded:
        record = record.with_warning(
            f"{superseded} of the run's results are left out, since their items have a newer one: the run name was "
            "used more than once, or the run was resumed."
        )
    return record, left_out


def newest_good(results: Sequence[ItemResult]) -> list[ItemResult]:
    """Keep one result per dataset item: the newest that succeeded, else the newest.

    Returns:
        In the order in which they started.
    """
    best: dict[str, ItemResult] = {}
    for result in results:
        known = best.get(result.item_id)
        if known is None or _goodness(result) > _goodness(known):
            best[result.item_id] = result
    # Twice, since keys of both are many objects for a large run.
    return sorted(sorted(best.values(), key=lambda result: result.item_id), key=_started)


def _ended_items(record: RunRecord, repeat: int) -> dict[str, ItemResult]:
    return {item.item_id: item for item in record.items if item.repeat == repeat and item.status != "pending"}


def _goodness(result: ItemResult) -> tuple[bool, float]:
    return result.status == "succeeded", _started(result)


def _started(result: ItemResult) -> float:
    started = result.started
    return started.timestamp() if started else 0.0
