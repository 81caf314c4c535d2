"""Consent to what a call may spend on models."""

import json
from collections.abc import Collection

from lfexp_mcp.errors import ConfirmationError
from lfexp_mcp.model import NextStep
from lfexp_mcp.services.workspace import Workspace

MAX_NAME_CHARS = 80


def shown_name(name: str) -> str:
    """Quote a name in a question: it may be of any length, and hold any character."""
    return json.dumps(name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}…")


def check_spending(
    ws: Workspace,
    agreed: Collection[str] | None,
    what: str,
    at_most: float | None,
    again: NextStep | None,
    *,
    is_estimate: bool = False,
) -> None:
    """Refuse what may cost more than `confirm_cost_above`, unless the user has agreed to it.

    What is counted is what `max_cost` limits: judges and prompts as tasks, not what a task script spends by itself.
    A limit is kept by the run, so that it stays true whatever changes after the question. Without one, and without an
    estimate, the cost is unknown, and an unknown cost is above any amount.

    Args:
        ws: The workspace.
        agreed: What the user has agreed to; None if it is the user who calls, as on the shell.
        what: What is to be done, for the user.
        at_most: What it may cost, in USD; None if that is unknown.
        again: The same call with a `max_cost` that needs no consent; None if it has no such argument.
        is_estimate: Whether `at_most` is estimated, rather than kept.

    Raises:
        ConfirmationError: The user has to agree first.
    """
    limit = ws.settings.confirm_cost_above
    if agreed is None or limit is None or (at_most is not None and at_most <= limit):
        return
    amount = "an unknown amount" if at_most is None else f"{'about' if is_estimate else 'up to'} {_usd(at_most)}"
    question = f"Spend {amount} on models? {what} A task script's own calls are not counted."
    if question in agreed:
        return
    above = f"more than {_usd(limit)} (LFEXP_CONFIRM_COST_ABOVE) takes the user's consent"
    may_go_on = at_most is not None or again is None
    raise ConfirmationError(
        f"Nothing was started: this may cost {amount}, and {above}, whom this client cannot ask. Pass a max_cost.",
        question,
        notice=f"This may cost {amount}: {above}, whom this client cannot ask." if may_go_on else None,
        next=[again] if again is not None and limit > 0 else [],
    )


def _usd(amount: float) -> str:
    return f"{amount:,.2f} USD" if amount >= 1 else f"{amount:.3g} USD"
