"""Live mode: recent production traces become the dataset of a run."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway.records import EXPERIMENT_ENVIRONMENT, Dataset, DatasetItem, Observation
from lfexp_mcp.services.definitions.items import NewItem, refuse_what_json_has_not
from lfexp_mcp.services.definitions.storing import derived_id
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class LiveSample:
    """Production traces as a dataset."""

    dataset: Dataset
    items: list[DatasetItem]
    is_stored: bool
    """Whether Langfuse has the dataset; if not, its id is none of Langfuse's."""


async def store_live(ws: Workspace, run_name: str, sample_size: int) -> Dataset:
    """Make dataset `live-<run_name>` of the newest production traces; one that has items is left as it is.

    Raises:
        UsageError: There is no trace to sample.
    """
    sample = await sample_live(ws, run_name, sample_size)
    if sample.is_stored:
        return sample.dataset
    name = sample.dataset.name
    dataset = await ws.gateway.upsert_dataset(name, sample.dataset.description, sample.dataset.metadata)
    for item in sample.items:
        await ws.gateway.upsert_dataset_item(
            name, id=item.id, input=item.input, metadata=item.metadata, source_trace_id=item.source_trace_id
        )
    return dataset


async def sample_live(ws: Workspace, run_name: str, sample_size: int) -> LiveSample:
    """Read the newest production traces as what dataset `live-<run_name>` is made of.

    A trace counts when its root observation has an input and is not an experiment's; one that is nested too deeply to
    be an item is left out. What production answered is kept in the item's metadata as `production_output`: it is a
    reference, not a truth, so it is no expected output. A dataset of that name which has items is used as it is, so
    that a resumed run sees the same items.

    Raises:
        UsageError: There is no trace to sample.
    """
    name = f"live-{run_name}"
    existing = next((dataset for dataset in await ws.gateway.datasets() if dataset.name == name), None)
    if existing is not None:
        items = await ws.gateway.dataset_items(name)
        if items:
            return LiveSample(existing, items, is_stored=True)
    traces = await _newest_traces(ws, sample_size)
    if not traces:
        raise UsageError(
            "There is no production trace with an input to sample. Trace the application with the Langfuse SDK first, "
            "or run over a dataset: source_type='dataset'."
        )
    dataset = Dataset(
        id=name,
        name=name,
        created=datetime.now(UTC),
        description=f"The newest {len(traces)} production traces, sampled for run {run_name!r}.",
        metadata={"source": "live"},
    )
    return LiveSample(dataset, [_item(name, trace) for trace in reversed(traces)], is_stored=False)


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


async def _newest_traces(ws: Workspace, sample_size: int) -> list[Observation]:
    """Return roots of production traces that have an input, newest first, reading on until there are enough."""
    page = min(max(4 * sample_size, 50), 1000)
    wanted = page
    while True:
        roots = await ws.gateway.observations(root_only=True, page_size=page, most=wanted)
        usable = [root for root in roots if _is_usable(root)]
        if len(usable) >= sample_size or len(roots) < wanted:
            return usable[:sample_size]
        wanted *= 4


def _is_usable(root: Observation) -> bool:
    """Whether a root observation is production's, and an item can be made of it."""
    if root.environment == EXPERIMENT_ENVIRONMENT or root.input in (None, ""):
        return False
    try:
        refuse_what_json_has_not([root.input, root.output])
    except ValueError:
        return False
    return True
