"""Listing the runs of a dataset."""

from collections.abc import Sequence
from contextlib import suppress

from pydantic import JsonValue

from lfexp_mcp.answers.run import RunList, RunListEntry
from lfexp_mcp.errors import RejectedError, StateError
from lfexp_mcp.gateway import Dataset, Experiment
from lfexp_mcp.model import PROVENANCE_KEY, Holdout, NextStep, Provenance, RunStatus
from lfexp_mcp.services.answer_size import AnswerSize, fit
from lfexp_mcp.services.cursors import invalid_cursor
from lfexp_mcp.services.next_steps import run_step
from lfexp_mcp.services.runs.completeness import current_status, listed_status
from lfexp_mcp.services.workspace import Workspace

MAX_PAGES = 5
"""Pages of a listing that are read to find a run, since repetitions of one may fill several."""
BAD_REQUEST = 400
"""Langfuse's answer to an invalid cursor."""


async def list_runs(ws: Workspace, dataset: str, limit: int = 20, cursor: str | None = None) -> RunList:
    """List the runs of a dataset, newest first; repetitions of a run count as one.

    Raises:
        NotFoundError: There is no such dataset.
        UsageError: The cursor is invalid.
    """
    found = await ws.gateway.datasets.get(dataset)
    experiments, next_cursor = await _read_page(ws, found.id, limit, cursor)
    heads = filter(_is_head, experiments)
    entries = [await _entry(ws, experiment, found.holdout) for experiment in heads]
    entries.sort(key=lambda entry: entry.created, reverse=True)
    if cursor is None:
        entries = [*_only_here(ws, found, {experiment.id for experiment in experiments}, next_cursor), *entries]

    def build(size: AnswerSize) -> RunList:
        return RunList(
            backend=str(ws.gateway.backend),
            dataset=dataset,
            runs=[_shortened(entry, size) for entry in entries],
            next_cursor=next_cursor,
            next=_next_steps(dataset, entries, limit, next_cursor),
        )

    return fit(build, limit, "summary")


async def _read_page(
    ws: Workspace, dataset_id: str, limit: int, cursor: str | None
) -> tuple[list[Experiment], str | None]:
    """Read a page of runs and repetitions, and further pages if there is no run among them."""
    try:
        experiments, following = await ws.gateway.experiments.page(dataset_id, limit=limit, cursor=cursor)
    except RejectedError as error:
        if cursor is None or error.status != BAD_REQUEST:
            raise
        raise invalid_cursor(cursor) from error
    for _ in range(1, MAX_PAGES):
        if following is None or any(map(_is_head, experiments)):
            break
        further, following = await ws.gateway.experiments.page(dataset_id, limit=limit, cursor=following)
        experiments += further
    return experiments, following


def _shortened(entry: RunListEntry, size: AnswerSize) -> RunListEntry:
    return entry.model_copy(
        update={
            "description": size.truncate_optional(entry.description),
            "metadata": {key: size.truncate(value) for key, value in entry.metadata.items()},
        }
    )


def _is_head(experiment: Experiment) -> bool:
    """Whether an experiment is a run without repeats, or the first repetition of one, which stands for it."""
    provenance = Provenance.of(experiment.metadata)
    return provenance is None or not provenance.is_repetition


async def _entry(ws: Workspace, experiment: Experiment, holdout: Holdout | None) -> RunListEntry:
    provenance = Provenance.of(experiment.metadata)
    plan = provenance.plan if provenance else None
    # A run from before the holdout may have items that are held out, and Langfuse counts them all.
    is_open = holdout is None or (plan is not None and plan.holdout is not None)
    # Langfuse's list mostly lacks the description.
    recorded = provenance.description if provenance else None
    return RunListEntry(
        name=experiment.name,
        created=experiment.created,
        description=experiment.description or recorded,
        results=experiment.item_count if is_open else None,
        metadata={key: value for key, value in experiment.metadata.items() if key != PROVENANCE_KEY},
        status=await _status(ws, experiment),
        planned=plan.results if plan and is_open else None,
        replayed=provenance is not None and provenance.replayed is not None,
        part=(plan.part_shown if is_open else str(plan.part.choice)) if plan and plan.part else None,
    )


async def _status(ws: Workspace, experiment: Experiment) -> RunStatus | None:
    try:
        return await current_status(ws, experiment)
    except StateError:
        # Reported to whoever asks for that run.
        return listed_status(experiment)


def _only_here(ws: Workspace, dataset: Dataset, shown: set[str], next_cursor: str | None) -> list[RunListEntry]:
    """List runs of this machine that Langfuse does not show yet; a later page may have those that have ended."""
    entries = []
    for folder, run_spec in ws.runs.started():
        if run_spec.dataset_id != dataset.id or run_spec.experiments[0].id in shown or run_spec.confirmation:
            continue
        status: RunStatus | None = None
        with suppress(StateError):
            status = folder.status()
        if next_cursor and status != "running":
            continue
        entries.append(
            RunListEntry(
                name=run_spec.run_name,
                created=run_spec.created,
                description=run_spec.description,
                results=0,
                metadata=run_spec.metadata,
                status=status,
                replayed=run_spec.is_replay,
                planned=run_spec.total_items if dataset.holdout is None or run_spec.holdout else None,
            )
        )
    return sorted(entries, key=lambda entry: entry.created, reverse=True)


def _next_steps(dataset: str, entries: Sequence[RunListEntry], limit: int, next_cursor: str | None) -> list[NextStep]:
    if not entries and next_cursor is not None:
        page: dict[str, JsonValue] = {"dataset": dataset, "limit": limit, "cursor": next_cursor}
        return [NextStep("list_runs", page, "Read on: so far there are only repetitions.")]
    if not entries:
        return [run_step("run_experiment", dataset, "<new name>", "Make the first run.", task_script="<path>.py")]
    steps = [run_step("get_run", dataset, entries[0].name, "Look at the newest.")]
    if len(entries) > 1:
        newest: list[JsonValue] = [entries[1].name, entries[0].name]
        steps.append(NextStep("compare_runs", {"dataset": dataset, "runs": newest}, "Compare the newest two."))
    return steps
