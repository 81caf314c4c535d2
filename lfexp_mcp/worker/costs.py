"""What models cost a run: its budget, and what it has used."""

from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.prices import open_prices
from lfexp_mcp.records import ModelUsage, ModelUser
from lfexp_mcp.runs.journal import JournalWriter, ModelsCalled
from lfexp_mcp.runs.manifest import Manifest
from lfexp_mcp.runs.replay import RunState


class UsageLedger:
    """Keeps what judges and prompt tasks use of models, and journals it from time to time."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._unwritten: dict[ModelUser, ModelUsage] = {}

    def add(self, user: ModelUser, used: ModelUsage) -> None:
        """Add what some calls used."""
        self._unwritten[user] = self._unwritten.get(user, ModelUsage()) + used

    def write(self) -> None:
        """Journal what has been used since the last time.

        Raises:
            StateError: The journal cannot be written.
        """
        unwritten, self._unwritten = self._unwritten, {}
        if unwritten:
            self._journal.append(*(ModelsCalled(user=user, usage=usage) for user, usage in unwritten.items()))


async def open_budget(gateway: Gateway, manifest: Manifest, state: RunState) -> Budget | None:
    """Open the budget of a run, less what earlier workers of it have spent; None for a run without a limit."""
    max_cost = manifest.limits.max_cost
    if max_cost is None:
        return None
    used = {user.model for user in state.model_usage}
    prices = await open_prices(await gateway.model_prices(), used.union(manifest.models))
    spent = [prices.cost(user.model, usage) for user, usage in state.model_usage.items()]
    return Budget(max_cost, prices, sum(cost for cost in spent if cost is not None))
