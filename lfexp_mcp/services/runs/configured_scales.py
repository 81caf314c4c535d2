"""The scales of scores that Langfuse's score configs state."""

from collections.abc import Iterable

from lfexp_mcp.model import JudgeMaker, RunRecord, Scale, Score, ScriptMaker
from lfexp_mcp.scores.resolution import scales_of_configs
from lfexp_mcp.services.workspace import Workspace


async def configured_scales(ws: Workspace, scores: Iterable[Score]) -> dict[str, Scale]:
    """Read the scales that score configs state, by name; empty without a request if all scores have their own."""
    if not any(_needs_config(score) for score in scores):
        return {}
    return scales_of_configs(await ws.gateway.score_configs())


async def configured_scales_of(ws: Workspace, *records: RunRecord) -> dict[str, Scale]:
    """Read the scales that score configs state for the scores of runs, see `configured_scales`."""
    return await configured_scales(ws, (score for record in records for item in record.items for score in item.scores))


def _needs_config(score: Score) -> bool:
    """Whether a score's maker does not say its scale: a script's was looked for when it ran, but by version 0.1."""
    match score.maker:
        case JudgeMaker():
            return False
        case ScriptMaker(function=function, scale=scale):
            return function is None and scale is None
        case _:
            return score.data_type != "TEXT"
