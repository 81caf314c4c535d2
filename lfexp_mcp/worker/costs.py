"""What models cost a run: its budget, and what it has used."""

from collections import Counter

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.prices import open_prices
from lfexp_mcp.model import ModelCaller, ModelUsage, RunSpec
from lfexp_mcp.runs.events import Event, ModelsCalled, ProviderRetried
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.run_state import RunState


class UsageLedger:
    """Keeps what judges and prompt tasks use of models, and journals it from time to time."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._unwritten: dict[ModelCaller, ModelUsage] = {}
        self._retries: Counter[str] = Counter()
        self._rate_limited: Counter[str] = Counter()

    def add(self, user: ModelCaller, used: ModelUsage) -> None:
        """Add what some calls used."""
        self._unwritten[user] = self._unwritten.get(user, ModelUsage()) + used

    def add_retry(self, provider: str, *, rate_limited: bool) -> None:
        """Count a call that failed and is made again."""
        self._retries[provider] += 1
        self._rate_limited[provider] += rate_limited

    def write(self) -> None:
        """Journal what has been used, and retried, since the last time.

        Raises:
            StateError: The journal cannot be written.
        """
        used: list[Event] = [ModelsCalled(user=user, usage=usage) for user, usage in self._unwritten.items()]
        retried = [
            ProviderRetried(provider=provider, retries=retries, rate_limited=self._rate_limited[provider])
            for provider, retries in self._retries.items()
        ]
        self._unwritten.clear()
        self._retries.clear()
        self._rate_limited.clear()
        if used or retried:
            self._journal.append(*used, *retried)


async def open_budget(gateway: Gateway, run_spec: RunSpec, state: RunState) -> Budget | None:
    """Open the budget of a run, less what earlier workers of it have spent; None for a run without a limit."""
    max_cost = run_spec.limits.max_cost
    if max_cost is None:
        return None
    used = {user.model for user in state.model_usage}
    prices = await open_prices(await gateway.model_prices(), used.union(run_spec.models))
    spent = [prices.cost(user.model, usage) for user, usage in state.model_usage.items()]
    return Budget(max_cost, prices, sum(cost for cost in spent if cost is not None))
