"""Live mode: recent production traces become the dataset of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, JsonValue, ValidationError

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.definitions.item_store import store_items, survey_items
from lfexp_mcp.services.definitions.new_items import CollectedItem
from lfexp_mcp.services.production_traces import check_found, describe, find_traces, item_of_trace
from lfexp_mcp.services.requests import TraceFilter, live_dataset_name
from lfexp_mcp.services.workspace import Workspace

COMPLETE_METADATA: dict[str, JsonValue] = {"source": "live"}
"""The metadata of a dataset that was copied completely."""
COPYING_KEY = "copying"
"""Further metadata key of a dataset that is being copied: which traces belong to it."""


class _CopyPlan(BaseModel):
    traces: int
    until: datetime
    """The sample consists of traces that began before."""
    filter: TraceFilter = TraceFilter()
    """Which they are."""


@dataclass(frozen=True, slots=True)
class LiveSample:
    """Production traces as a dataset."""

    dataset: Dataset
    items: Sequence[DatasetItem]
    missing: list[CollectedItem]
    """Those of the items that Langfuse does not have; if it has none, the dataset's id is not Langfuse's."""
    notes: tuple[str, ...] = ()


async def store_live(ws: Workspace, sample: LiveSample) -> Dataset:
    """Store the dataset of a sample; if it is complete, it stays as it is."""
    if not sample.missing:
        return sample.dataset
    name, description = sample.dataset.name, sample.dataset.description
    await ws.gateway.datasets.upsert(name, description, sample.dataset.metadata)
    await store_items(ws, name, sample.missing, survey_items(name, lambda: sample.missing))
    complete = {key: value for key, value in sample.dataset.metadata.items() if key != COPYING_KEY}
    return await ws.gateway.datasets.upsert(name, description, complete)


async def sample_live(ws: Workspace, run_name: str, sample_size: int, wanted: TraceFilter) -> LiveSample:
    """Read the newest production traces as the items of dataset `live-<run_name>`, without storing anything.

    A dataset of that name that has items is used as it is, so that a resumed run sees the same items. If copying was
    interrupted, it is completed with the traces of that time.

    Raises:
        UsageError: There is no trace to sample, or the rest of an interrupted copy is gone.
    """
    name = live_dataset_name(run_name)
    existing = await ws.gateway.datasets.find(name)
    stored = await ws.gateway.datasets.items(existing) if existing else []
    plan = _copy_plan(existing) if existing else None
    if existing and stored and plan is None:
        return LiveSample(existing, stored, [])
    if plan:
        found = await find_traces(ws, plan.filter, plan.traces, plan.until)
    else:
        found = await find_traces(ws, wanted, sample_size)
    known = {item.source_trace_id for item in stored}
    missing = [item_of_trace(name, root) for root in reversed(found.roots) if root.trace_id not in known]
    items = [*stored, *(_as_stored(name, item) for item in missing)]
    if existing and plan:
        if len(items) != plan.traces:
            raise UsageError(
                f"Copying production traces into dataset {name!r} was interrupted at {len(stored)} of {plan.traces}, "
                "and the other traces no longer exist. Use another run name."
            )
        return LiveSample(existing, items, missing)
    check_found(found, wanted)
    plan = _CopyPlan(traces=len(missing), until=found.roots[0].started + timedelta(milliseconds=1), filter=wanted)
    dataset = Dataset(
        id=name,
        name=name,
        created=datetime.now(UTC),
        description=f"{describe(wanted, found.roots)} For run {run_name!r}.",
        metadata={**COMPLETE_METADATA, COPYING_KEY: plan.model_dump(mode="json", exclude_defaults=True)},
    )
    return LiveSample(dataset, items, missing, tuple(found.notes))


def _copy_plan(dataset: Dataset) -> _CopyPlan | None:
    try:
        return _CopyPlan.model_validate(dataset.metadata[COPYING_KEY]) if COPYING_KEY in dataset.metadata else None
    except ValidationError:
        # Metadata that is not ours.
        return None


def _as_stored(dataset_id: str, item: CollectedItem) -> DatasetItem:
    return DatasetItem(
        id=item.id or "",
        dataset_id=dataset_id,
        input=item.input,
        metadata=item.metadata or {},
        source_trace_id=item.source_trace_id,
    )
