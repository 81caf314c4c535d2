"""Live mode: recent production traces become the dataset of a run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, JsonValue, ValidationError

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT, Dataset, Observation
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.definitions.item_store import derived_id
from lfexp_mcp.services.definitions.new_items import NewItem, check_json
from lfexp_mcp.services.requests import live_dataset_name
from lfexp_mcp.services.workspace import Workspace

COMPLETE_METADATA: dict[str, JsonValue] = {"source": "live"}
"""The metadata of a dataset that was copied completely."""
COPYING_KEY = "copying"
"""Further metadata key of a dataset that is being copied: which traces belong to it."""


class _CopyPlan(BaseModel):
    traces: int
    until: datetime
    """The sample consists of traces that began before."""


@dataclass(frozen=True, slots=True)
class LiveSample:
    """Production traces as a dataset."""

    dataset: Dataset
    items: list[DatasetItem]
    missing: list[DatasetItem]
    """Those of the items that Langfuse does not have; if it has none, the dataset's id is not Langfuse's."""


async def store_live(ws: Workspace, run_name: str, sample_size: int) -> Dataset:
    """Make dataset `live-<run_name>` of the newest production traces; if it is complete, it stays as it is.

    Raises:
        UsageError: There is no trace to sample, or the rest of an interrupted copy is gone.
    """
    sample = await sample_live(ws, run_name, sample_size)
    if not sample.missing:
        return sample.dataset
    name, description = sample.dataset.name, sample.dataset.description
    await ws.gateway.datasets.upsert(name, description, sample.dataset.metadata)
    for item in sample.missing:
        await ws.gateway.datasets.upsert_item(
            name, id=item.id, input=item.input, metadata=item.metadata, source_trace_id=item.source_trace_id
        )
    return await ws.gateway.datasets.upsert(name, description, COMPLETE_METADATA)


async def sample_live(ws: Workspace, run_name: str, sample_size: int) -> LiveSample:
    """Read the newest production traces as the items of dataset `live-<run_name>`, without storing anything.

    A trace counts if its root observation has an input and is not an experiment's; one that is nested too deeply for a
    dataset item is skipped. The production output is kept in the item's metadata as `production_output`: it is a
    reference, not an expected output. A dataset of that name that has items is used as it is, so that a resumed run
    sees the same items. If copying was interrupted, it is completed with the traces of that time.

    Raises:
        UsageError: There is no trace to sample, or the rest of an interrupted copy is gone.
    """
    name = live_dataset_name(run_name)
    existing = next((dataset for dataset in await ws.gateway.datasets.all() if dataset.name == name), None)
    stored = await ws.gateway.datasets.items(name) if existing else []
    plan = _copy_plan(existing) if existing else None
    if existing and stored and plan is None:
        return LiveSample(existing, stored, [])
    traces = await _newest_traces(ws, plan.traces if plan else sample_size, plan.until if plan else None)
    known = {item.id for item in stored}
    missing = [item for trace in reversed(traces) if (item := _item(name, trace)).id not in known]
    if existing and plan:
        if len(known) + len(missing) != plan.traces:
            raise UsageError(
                f"Copying production traces into dataset {name!r} was interrupted at {len(known)} of {plan.traces}, "
                "and the other traces no longer exist. Use another run name."
            )
        return LiveSample(existing, [*stored, *missing], missing)
    if not traces:
        raise UsageError(
            "There is no production trace with an input to sample. Trace the application with the Langfuse SDK first, "
            "or run over a dataset."
        )
    plan = _CopyPlan(traces=len(traces), until=max(trace.started for trace in traces) + timedelta(milliseconds=1))
    dataset = Dataset(
        id=name,
        name=name,
        created=datetime.now(UTC),
        description=f"The newest {len(traces)} production traces, sampled for run {run_name!r}.",
        metadata={**COMPLETE_METADATA, COPYING_KEY: plan.model_dump(mode="json")},
    )
    return LiveSample(dataset, missing, missing)


def _copy_plan(dataset: Dataset) -> _CopyPlan | None:
    try:
        return _CopyPlan.model_validate(dataset.metadata[COPYING_KEY]) if COPYING_KEY in dataset.metadata else None
    except ValidationError:
        # Metadata that is not ours.
        return None


def _item(dataset_name: str, trace: Observation) -> DatasetItem:
    metadata: dict[str, JsonValue] = {"production_output": trace.output, "trace_name": trace.name}
    return DatasetItem(
        id=derived_id(f"{dataset_name}/{trace.trace_id}", NewItem(input=trace.input, metadata=metadata)),
        dataset_id=dataset_name,
        input=trace.input,
        metadata=metadata,
        source_trace_id=trace.trace_id,
    )


async def _newest_traces(ws: Workspace, sample_size: int, until: datetime | None = None) -> list[Observation]:
    """Return roots of production traces that have an input, newest first, reading on until there are enough."""
    page = min(max(4 * sample_size, 50), 1000)
    wanted = page
    while True:
        roots = await ws.gateway.observations.find(root_only=True, until=until, page_size=page, max_rows=wanted)
        usable = [root for root in roots if _is_usable(root)]
        if len(usable) >= sample_size or len(roots) < wanted:
            return usable[:sample_size]
        wanted *= 4


def _is_usable(root: Observation) -> bool:
    if root.environment == EXPERIMENT_ENVIRONMENT or root.input in (None, ""):
        return False
    try:
        check_json([root.input, root.output])
    except ValueError:
        return False
    return True
