"""What models cost a run: its budget, what it used, and what the whole would use."""

from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.judges.usage import Usage, estimate_run
from lfexp_mcp.runs.replay import RunState


class ModelUsage:
    """Adds up what calls to models used, by model."""

    def __init__(self) -> None:
        self.by_model: dict[str, Usage] = {}

    def add(self, model: str, used: Usage) -> None:
        """Add what some calls used."""
        self.by_model[model] = self.by_model.get(model, Usage()) + used


def describe_estimate(used: ModelUsage, sampled: int, total: int, prices: PriceTable) -> str:
    """Say what a dry run did, and what the whole run would use.

    Args:
        used: What the dry run used.
        sampled: Results of the dry run.
        total: Results of the whole run.
        prices: What the models cost.
    """
    ran = f"Dry run: {sampled} of {total} results were made, and nothing was stored."
    if not used.by_model:
        return f"{ran} No judge or prompt called a model; what the task's own code calls is not counted."
    estimate = estimate_run(used.by_model, sampled, total, prices)
    cost = f"about {estimate.cost:.4f} USD" if estimate.cost is not None else "at an unknown price"
    unknown = f" (Langfuse knows no price of {', '.join(estimate.unknown_prices)})" if estimate.unknown_prices else ""
    return (
        f"{ran} The whole run would make about {estimate.calls} calls to models with {estimate.input_tokens} input and "
        f"{estimate.output_tokens} output tokens, {cost}{unknown}; what the task's own code calls is not counted."
    )


async def open_budget(gateway: Gateway, max_cost: float | None, state: RunState) -> Budget | None:
    """Open the budget of a run, less what earlier workers of it have spent; None for a run without a limit."""
    if max_cost is None:
        return None
    prices = PriceTable(await gateway.model_prices())
    return Budget(max_cost, prices, spent_before(state, prices))


def spent_before(state: RunState, prices: PriceTable) -> float:
    """Add up what the judges' scores in a journal cost, in USD."""
    spent = 0.0
    for scored in state.scored.values():
        for score in scored.scores:
            model = score.metadata.get("model")
            tokens = [score.metadata.get(kind) for kind in ("input_tokens", "output_tokens")]
            if isinstance(model, str) and all(isinstance(count, int) for count in tokens):
                used = Usage(input_tokens=int(str(tokens[0])), output_tokens=int(str(tokens[1])))
                spent += prices.cost(model, used) or 0.0
    return spent
