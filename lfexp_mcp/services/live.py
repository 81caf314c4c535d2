"""Live mode: recent production traces become the dataset of a run."""

from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway.records import Dataset, Observation
from lfexp_mcp.services.datasets import derived_id
from lfexp_mcp.services.items import ID_LENGTH, NewItem
from lfexp_mcp.services.workspace import Workspace

EXPERIMENT_ENVIRONMENT = "sdk-experiment"
"""Environment of the traces that experiments make: not production."""
LARGEST_SAMPLE = 1000


async def sample_live(ws: Workspace, run_name: str, sample_size: int) -> Dataset:
    """Make dataset `live-<run_name>` of the newest production traces.

    A trace counts when its root observation has an input and is not an experiment's. What production answered is kept
    in the item's metadata as `production_output`: it is a reference, not a truth, so it is no expected output.
    A dataset of that name which has items is used as it is, so that a resumed run sees the same items.

    Raises:
        UsageError: The sample size is out of bounds, or there is no trace to sample.
    """
    if not 1 <= sample_size <= LARGEST_SAMPLE:
        raise UsageError(f"sample_size is {sample_size}; pass a number from 1 to {LARGEST_SAMPLE}.")
    name = f"live-{run_name}"
    existing = next((dataset for dataset in await ws.gateway.datasets() if dataset.name == name), None)
    if existing is not None and await ws.gateway.dataset_items(name):
        return existing
    traces = await _newest_traces(ws, sample_size)
    if not traces:
        raise UsageError(
            "There is no production trace with an input to sample. Trace the application with the Langfuse SDK first, "
            "or run over a dataset: source_type='dataset'."
        )
    dataset = await ws.gateway.upsert_dataset(
        name, f"The newest {len(traces)} production traces, sampled for run {run_name!r}.", {"source": "live"}
    )
    for trace in reversed(traces):
        metadata: dict[str, JsonValue] = {"production_output": trace.output, "trace_name": trace.name}
        item = NewItem(input=trace.input, metadata=metadata)
        await ws.gateway.upsert_dataset_item(
            name,
            id=derived_id(f"{name}/{trace.trace_id}", item)[:ID_LENGTH],
            input=item.input,
            metadata=metadata,
            source_trace_id=trace.trace_id,
        )
    return dataset


async def _newest_traces(ws: Workspace, sample_size: int) -> list[Observation]:
    """Return roots of production traces that have an input, newest first, reading on until there are enough."""
    page = min(max(4 * sample_size, 50), 1000)
    wanted = page
    while True:
        roots = await ws.gateway.observations(root_only=True, page_size=page, most=wanted)
        usable = [root for root in roots if root.environment != EXPERIMENT_ENVIRONMENT and root.input not in (None, "")]
        if len(usable) >= sample_size or len(roots) < wanted:
            return usable[:sample_size]
        wanted *= 4
