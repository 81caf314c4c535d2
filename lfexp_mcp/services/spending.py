"""Consent to what a call may spend on models."""

import json
from collections.abc import Collection

from lfexp_mcp.errors import ConfirmationError
from lfexp_mcp.model import NextStep, ToolName
from lfexp_mcp.services.requests import Request
from lfexp_mcp.services.workspace import Workspace

MAX_NAME_CHARS = 80


def shown_name(name: str) -> str:
    """Quote a name in a question: it may be of any length, and hold any character."""
    return json.dumps(name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}…")


def needs_consent(ws: Workspace, agreed: Collection[str] | None, at_most: float | None) -> bool:
    """Tell whether a call may spend only what its user has agreed to; see `check_spending`."""
    limit = ws.settings.confirm_cost_above
    return agreed is not None and limit is not None and (at_most is None or at_most > limit)


def cheaper(ws: Workspace, tool: ToolName, request: Request) -> NextStep:
    """Propose a call again, with a `max_cost` that needs no consent."""
    asked = request.model_copy(update={"max_cost": ws.settings.confirm_cost_above})
    arguments = asked.model_dump(mode="json", exclude_defaults=True)
    return NextStep(tool, arguments, "Go on within what needs no consent.")


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
    estimate, the cost is unknown, and an unknown cost is above any amount. Called when everything else is checked that
    can be checked before: nobody is asked about what would be refused then.

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
    if agreed is None or limit is None or not needs_consent(ws, agreed, at_most):
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
