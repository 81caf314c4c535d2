"""Consent to what a call may spend on models."""

import json
from collections.abc import Awaitable, Callable, Collection

import anyio

from lfexp_mcp.errors import ConfirmationError
from lfexp_mcp.model import NextStep, ToolName
from lfexp_mcp.services.requests import ConfirmRequest, JudgeCheckRequest, ScoringLimits
from lfexp_mcp.services.workspace import Workspace

MAX_NAME_CHARS = 80
CHECK_PATIENCE_S = 20.0
"""How long a call is checked before the user is asked about it; what is left, such as a large dataset, is checked when
it goes ahead."""


def shown_name(name: str) -> str:
    """Quote a name in a question: it may be of any length, and hold any character."""
    return json.dumps(name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}…")


async def check_spending(
    ws: Workspace,
    agreed: Collection[str] | None,
    tool: ToolName,
    request: ScoringLimits | JudgeCheckRequest | ConfirmRequest,
    what: str,
    check: Callable[[], Awaitable[float | None]],
) -> None:
    """Refuse what may cost more than `confirm_cost_above`, unless the user has agreed to it.

    All that spends on models asks here. What is counted is what `max_cost` limits: judges and prompts as tasks, not
    what a task script spends by itself. A limit is kept by the run, so that it stays true whatever changes after the
    question. Without one, and without an estimate, the cost is unknown, and an unknown cost is above any amount.

    Args:
        agreed: What the user has agreed to; None if it is the user who calls, as on the shell.
        tool: The tool that is called.
        what: What is to be done, for the user.
        check: Refuses what would fail, as far as that can be told for free, so that nobody is asked about it; returns
            what the call may cost at most, in USD, or None if that is unknown.

    Raises:
        ConfirmationError: The user has to agree first.
        LfexpError: The call would fail.
    """
    limit, is_limited = ws.settings.confirm_cost_above, not isinstance(request, ConfirmRequest)
    at_most = None if isinstance(request, ConfirmRequest) else request.max_cost
    if agreed is None or limit is None or (at_most is not None and at_most <= limit):
        return

    def amount() -> str:
        return "an unknown amount" if at_most is None else f"{'up to' if is_limited else 'about'} {_usd(at_most)}"

    def question() -> str:
        return f"Spend {amount()} on models? {what} A task script's own calls are not counted."

    if question() in agreed:
        return
    with anyio.move_on_after(CHECK_PATIENCE_S):
        at_most = await check()
    if (at_most is not None and at_most <= limit) or question() in agreed:
        return
    above = (
        f"more than {_usd(limit)} (LFEXP_CONFIRM_COST_ABOVE) needs the user's consent, which this client cannot ask for"
    )
    may_go_on = at_most is not None or not is_limited
    again = []
    if is_limited and limit > 0:
        cheaper = request.model_copy(update={"max_cost": limit}).model_dump(mode="json", exclude_defaults=True)
        again = [NextStep(tool, cheaper, "Go on within what needs no consent.")]
    raise ConfirmationError(
        f"Nothing was started: this may cost {amount()}, and {above}." + (" Pass a max_cost." if is_limited else ""),
        question(),
        notice=f"This may cost {amount()}: {above}." if may_go_on else None,
        next=again,
    )


async def check_budget(ws: Workspace, max_cost: float | None, models: list[str]) -> None:
    """Check that what a run, or a check of a judge, may cost can be counted.

    Raises:
        JudgeError: The price of a model is not known.
    """
    if max_cost is not None and models:
        from lfexp_mcp.judges.budget import Budget
        from lfexp_mcp.judges.prices import open_prices

        prices = await open_prices(await ws.gateway.model_prices(), models)
        Budget(max_cost, prices).check(models)


def _usd(amount: float) -> str:
    return f"{amount:,.2f} USD" if amount >= 1 else f"{amount:.3g} USD"
