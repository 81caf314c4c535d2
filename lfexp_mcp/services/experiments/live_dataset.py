"""Live mode: recent production traces become the dataset of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, JsonValue, ValidationError

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway.records import EXPERIMENT_ENVIRONMENT, Dataset, Observation
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.definitions.item_store import derived_id
from lfexp_mcp.services.definitions.new_items import NewItem, check_json
from lfexp_mcp.services.experiments.request import live_dataset_name
from lfexp_mcp.services.workspace import Workspace

LIVE: dict[str, JsonValue] = {"source": "live"}
"""The metadata of a dataset that was copied as a whole."""
COPYING = "copying"
"""The metadata key of one that is not, under which stands what belongs to it."""


class _CopyProgress(BaseModel):
    traces: int
    until: datetime
    """Traces that began later are none of the sample."""


@dataclass(frozen=True, slots=True)
class LiveSample:
    """Production traces as a dataset."""

    dataset: Dataset
    items: list[DatasetItem]
    missing: list[DatasetItem]
    """Those of the items that Langfuse does not have; where it has none, the dataset's id is none of Langfuse's."""


async def store_live(ws: Workspace, run_name: str, sample_size: int) -> Dataset:
    """Make dataset `live-<run_name>` of the newest production traces; one that has them all is left as it is.

    Raises:
        UsageError: There is no trace to sample, or what an interrupted copy lacks is gone.
    """
    sample = await sample_live(ws, run_name, sample_size)
    if not sample.missing:
        return sample.dataset
    name, description = sample.dataset.name, sample.dataset.description
    await ws.gateway.upsert_dataset(name, description, sample.dataset.metadata)
    for item in sample.missing:
        await ws.gateway.upsert_dataset_item(
            name, id=item.id, input=item.input, metadata=item.metadata, source_trace_id=item.source_trace_id
        )
    return await ws.gateway.upsert_dataset(name, description, LIVE)


async def sample_live(ws: Workspace, run_name: str, sample_size: int) -> LiveSample:
    """Read the newest production traces as what dataset `live-<run_name>` is made of.

    A trace counts when its root observation has an input and is not an experiment's; one that is nested too deeply to
    be an item is left out. What production answered is kept in the item's metadata as `production_output`: it is a
    reference, not a truth, so it is no expected output. A dataset of that name which has items is used as it is, so
    that a resumed run sees the same items; one whose copying was interrupted is completed with the traces of then.

    Raises:
        UsageError: There is no trace to sample, or what an interrupted copy lacks is gone.
    """
    name = live_dataset_name(run_name)
    existing = next((dataset for dataset in await ws.gateway.datasets() if dataset.name == name), None)
    if existing is not None:
        items = await ws.gateway.dataset_items(name)
        copying = _copying(existing)
        if copying is not None:
            return await _complete(ws, existing, items, copying)
        if items:
            return LiveSample(existing, items, [])
    traces = await _newest_traces(ws, sample_size)
    if not traces:
        raise UsageError(
            "There is no production trace with an input to sample. Trace the application with the Langfuse SDK first, "
            "or run over a dataset: source_type='dataset'."
        )
    copying = _CopyProgress(
        traces=len(traces), until=max(trace.started for trace in traces) + timedelta(milliseconds=1)
    )
    dataset = Dataset(
        id=name,
        name=name,
        created=datetime.now(UTC),
        description=f"The newest {len(traces)} production traces, sampled for run {run_name!r}.",
        metadata={**LIVE, COPYING: copying.model_dump(mode="json")},
    )
    sampled = [_item(name, trace) for trace in reversed(traces)]
    return LiveSample(dataset, sampled, sampled)


def _copying(dataset: Dataset) -> _CopyProgress | None:
    try:
        return _CopyProgress.model_validate(dataset.metadata[COPYING]) if COPYING in dataset.metadata else None
    except ValidationError:
        # Somebody else's metadata.
        return None


async def _complete(
    ws: Workspace, dataset: Dataset, stored: Sequence[DatasetItem], copying: _CopyProgress
) -> LiveSample:
    """Find what an interrupted copy lacks."""
    traces = await _newest_traces(ws, copying.traces, copying.until)
    known = {item.id for item in stored}
    sampled = [_item(dataset.name, trace) for trace in reversed(traces)]
    missing = [item for item in sampled if item.id not in known]
    if len(known) + len(missing) != copying.traces:
        raise UsageError(
            f"Copying production traces into dataset {dataset.name!r} was interrupted at {len(known)} of "
            f"{copying.traces}, and the others are not to be found any more. Use another run name."
        )
    return LiveSample(dataset, [*stored, *missing], missing)


def _item(dataset_name: str, trace: Observation) -> DatasetItem:
    metadata: dict[str, JsonValue] = {"production_output": trace.output, "trace_name": trace.name}
    item = NewItem(input=trace.input, metadata=metadata)
    return DatasetItem(
        id=derived_id(f"{dataset_name}/{trace.trace_id}", item),
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
        roots = await ws.gateway.observations(root_only=True, until=until, page_size=page, most=wanted)
        usable = [root for root in roots if _is_usable(root)]
        if len(usable) >= sample_size or len(roots) < wanted:
            return usable[:sample_size]
        wanted *= 4


def _is_usable(root: Observation) -> bool:
    """Whether a root observation is production's, and an item can be made of it."""
    if root.environment == EXPERIMENT_ENVIRONMENT or root.input in (None, ""):
        return False
    try:
        check_json([root.input, root.output])
    except ValueError:
        return False
    return True
