"""What is shown of runs that have held-out items: their other results, and of a run over such items that it is one.

Runs from before their dataset's holdout have some, and so may those of others.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from lfexp_mcp.answers.run import RunProgress
from lfexp_mcp.errors import UnreachableError, UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import Confirmation, Holdout, ItemResult, NextStep, RunPlan, RunRecord, RunSpec
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.next_steps import confirm_step, list_runs_step
from lfexp_mcp.services.workspace import Workspace

LOOKUP_PATIENCE_S = 2.0
"""How long Langfuse may take to identify a run, or to tell a holdout, before what this machine knows is taken."""
LEFT_OUT = (
    "The run also went over items that are held out now. They are left out, as is what is known only of all its "
    "results together: run-level scores, cost, notes and log."
)


async def holdout_of_run(
    ws: Workspace, run_spec: RunSpec, until: float = math.inf, *, dataset: Dataset | None = None
) -> Holdout | None:
    """Return the holdout that the dataset of a run of this machine has now.

    Where Langfuse does not answer, it is the one that this machine has seen last.

    Args:
        run_spec: The run's.
        until: When the call that needs it is due, on anyio's clock; at most half of its time is waited.
        dataset: The run's, as it was just read; None reads it.

    Raises:
        UsageError: It cannot be told which items are held out.
    """
    datasets = ws.gateway.datasets
    try:
        with anyio.move_on_after(min(LOOKUP_PATIENCE_S, (until - anyio.current_time()) / 2)):
            dataset = dataset or await datasets.find(run_spec.dataset_name)
            # The dataset of a dry run need not be stored, and that of an old run may be another one by now.
            if dataset is not None and dataset.id == run_spec.dataset_id:
                return await datasets.holdout(dataset)
    except UnreachableError:
        pass
    return datasets.known_holdouts.find(run_spec.dataset_id)


def check_plan(dataset: Dataset, plan: RunPlan | None) -> None:
    """Check that a dataset has the holdout that it had when a run began.

    Raises:
        UsageError: It has not.
    """
    if plan is None or plan.holdout in (None, dataset.holdout.digest if dataset.holdout else None):
        return
    raise UsageError(
        f"Dataset {dataset.name!r} has another holdout, or none, than when a run of it began: somebody has overwritten "
        "its metadata. Its items are neither shown nor run until it is put back; a machine that has seen it can do so "
        "with create_dataset."
    )


async def may_have_held_out(ws: Workspace, run_spec: RunSpec) -> bool:
    """Whether a run of this machine began before its dataset's current holdout was declared, or is over held-out items.

    Raises:
        UsageError: It cannot be told which items are held out.
    """
    holdout = await holdout_of_run(ws, run_spec)
    return holdout is not None and (run_spec.confirmation is not None or run_spec.holdout != holdout.digest)


def without_held_out(ws: Workspace, record: RunRecord, holdout: Holdout | None) -> RunRecord:
    """Leave out of a run's journal the items that are held out; of the same record, the same is returned.

    Args:
        ws: The workspace, which keeps the last result.
        record: The run, with all its items.
        holdout: Of its dataset.
    """
    if holdout is None:
        return record
    memo = ws.run_cache.open_results
    kept = memo.find(record)
    if kept is None or kept[0] != holdout:
        items = tuple(item for item in record.items if not holdout.holds(item.item_id, item.metadata))
        kept = memo.keep((holdout, _with_items(record, items)), record)
    return kept[1]


def _with_items(record: RunRecord, items: tuple[ItemResult, ...]) -> RunRecord:
    if len(items) == len(record.items):
        return record
    plan = replace(record.plan, items=len({item.item_id for item in items})) if record.plan else None
    return without_whole(replace(record, items=items, total_items=len(items), plan=plan))


def without_whole(record: RunRecord) -> RunRecord:
    """Leave out of a run what is about all its results together, some of which have been left out."""
    return replace(record, leaves_out=True, run_scores=(), model_usage={}, warnings=(LEFT_OUT,))


async def open_plan(
    ws: Workspace, dataset: Dataset, record: RunRecord, plan: RunPlan, held_out: Collection[str]
) -> RunPlan:
    """Return the plan of a run without the items that are held out.

    Args:
        dataset: The run's, as it was just read.
        record: The run as Langfuse lists it.
        plan: What it was to do when it began.
        held_out: Held-out items that it has results of.
    """
    if dataset.holdout is None or plan.holdout is not None:
        return plan
    has = {item.item_id for item in record.items}
    pending = plan.items - len(has) - len(held_out)
    if pending > 0 and plan.part is None:
        # How many of those that it has not run are held out, the dataset tells.
        begun = record.created or datetime.max.replace(tzinfo=UTC)
        items = await ws.gateway.datasets.items(dataset)
        pending = len({item.id for item in items if item.created is None or item.created <= begun} - has)
    return replace(plan, items=len(has) + max(pending, 0))


def check_confirmation(dataset: str, run_name: str, confirmation: Confirmation | None, *, held_out: bool) -> None:
    """Check that a run is over held-out items exactly if it is asked for as such.

    Raises:
        UsageError: It is not.
    """
    if (confirmation is not None) is held_out:
        return
    if confirmation is None:
        raise UsageError(f"Run {run_name!r} of dataset {dataset!r} is not a confirmation.")
    raise UsageError(
        f"Run {run_name!r} of dataset {dataset!r} went over held-out items, of which nothing is shown. confirm_run "
        "gives its verdict.",
        next=_asks(dataset, confirmation),
    )


def describe_held_out(ws: Workspace, folder: RunFolder, run_spec: RunSpec) -> RunProgress:
    """Say how a run over held-out items of this machine stands, without a count of what it did."""
    confirmation = run_spec.confirmation
    return RunProgress(
        status=folder.status(),
        backend=str(ws.gateway.backend),
        dataset=run_spec.dataset_name,
        run_name=run_spec.run_name,
        total_items=run_spec.total_items,
        next=_asks(run_spec.dataset_name, confirmation) if confirmation else [],
    )


def _asks(dataset: str, confirmation: Confirmation) -> list[NextStep]:
    return [confirm_step(dataset, confirmation)] if confirmation.baseline else [list_runs_step(dataset)]
