"""What a whole run would use of models, by its dry run."""

from lfexp_mcp.answers.run import RunEstimate
from lfexp_mcp.judges.prices import open_prices
from lfexp_mcp.judges.usage import estimate_run
from lfexp_mcp.model import ModelUsage, RunRecord
from lfexp_mcp.services.workspace import Workspace


async def estimate_whole(ws: Workspace, dry_run: RunRecord, total: int) -> RunEstimate:
    """Estimate what the judges and the prompt task of a whole run would use.

    Args:
        ws: The workspace.
        dry_run: The run of a few items.
        total: Results of the whole run, repetitions included.
    """
    by_model: dict[str, ModelUsage] = {}
    for user, usage in dry_run.model_usage.items():
        by_model[user.model] = by_model.get(user.model, ModelUsage()) + usage
    prices = await open_prices(await ws.gateway.model_prices() if by_model else [], by_model)
    estimate = estimate_run(by_model, dry_run.total_items, total, prices)
    return RunEstimate(
        results=total,
        calls=estimate.calls,
        input_tokens=estimate.input_tokens,
        output_tokens=estimate.output_tokens,
        cost_usd=estimate.cost,
        unknown_prices=list(estimate.unknown_prices),
        price_sources=list(estimate.price_sources),
    )
