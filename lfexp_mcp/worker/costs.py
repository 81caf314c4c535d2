"""What models cost a run: its budget, what it used, and what the whole would use."""

from collections.abc import Mapping

from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.judges.usage import estimate_run
from lfexp_mcp.records import ModelUsage, ModelUser
from lfexp_mcp.runs.journal import JournalWriter, ModelsCalled
from lfexp_mcp.runs.replay import RunState


class UsageLedger:
    """Keeps what judges and prompt tasks use of models, and journals it from time to time."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._unwritten: dict[ModelUser, ModelUsage] = {}
        self.total: dict[ModelUser, ModelUsage] = {}

    def add(self, user: ModelUser, used: ModelUsage) -> None:
        """Add what some calls used."""
        for usage in (self._unwritten, self.total):
            usage[user] = usage.get(user, ModelUsage()) + used

    def write(self) -> None:
        """Journal what has been used since the last time.

        Raises:
            StateError: The journal cannot be written.
        """
        unwritten, self._unwritten = self._unwritten, {}
        if unwritten:
            self._journal.append(*(ModelsCalled(user=user, usage=usage) for user, usage in unwritten.items()))


def describe_estimate(used: Mapping[ModelUser, ModelUsage], sampled: int, total: int, prices: PriceTable) -> str:
    """Say what a dry run did, and what the whole run would use.

    Args:
        used: What the dry run used.
        sampled: Results of the dry run.
        total: Results of the whole run.
        prices: What the models cost.
    """
    ran = f"Dry run: {sampled} of {total} results were made, and nothing was stored."
    if not used:
        return f"{ran} No judge or prompt called a model; what the task's own code calls is not counted."
    by_model: dict[str, ModelUsage] = {}
    for user, usage in used.items():
        by_model[user.model] = by_model.get(user.model, ModelUsage()) + usage
    estimate = estimate_run(by_model, sampled, total, prices)
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
    spent = [prices.cost(user.model, usage) for user, usage in state.model_usage.items()]
    return Budget(max_cost, prices, sum(cost for cost in spent if cost is not None))
