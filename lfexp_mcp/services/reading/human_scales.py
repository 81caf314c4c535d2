"""The scales of human scores, which Langfuse's score configs state."""

from collections.abc import Iterable

from lfexp_mcp.records import RunRecord, Score
from lfexp_mcp.scale import Scale
from lfexp_mcp.scores.resolution import configured_scale
from lfexp_mcp.services.workspace import Workspace


async def human_scales(ws: Workspace, scores: Iterable[Score]) -> dict[str, Scale]:
    """Read the scales that score configs state, by name; empty without a request if none of the scores is a human's."""
    if not any(score.source == "ANNOTATION" for score in scores):
        return {}
    # Of several configs of a name the newest counts, and they come newest first.
    scales = {config.name: configured_scale(config) for config in reversed(await ws.gateway.score_configs())}
    return {name: scale for name, scale in scales.items() if scale is not None}


async def human_scales_of(ws: Workspace, *records: RunRecord) -> dict[str, Scale]:
    """Read the scales that score configs state for the human scores of runs, see `human_scales`."""
    return await human_scales(ws, (score for record in records for item in record.items for score in item.scores))
