"""Questions to the user, by the client's elicitation: before a call spends much, or overwrites something.

A service raises a `ConfirmationError` before it does anything, and does it when called again with the question among
those that were agreed to. So a question that has changed meanwhile, with its amount or its items, is asked again.
Clients of protocol 2026-07-28 get the question as the call's result, and call again with the answer; earlier ones are
asked during the call.
"""

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

import anyio
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from lfexp_mcp.errors import ConfirmationError
from lfexp_mcp.tools.state import ToolContext, workspace_of

MAX_QUESTIONS = 3
"""Of one call."""
STATE_LIFETIME_S = 600.0
"""How long the SDK accepts the state that comes back with an answer."""
KEY = "confirm"
SCHEMA = {
    "type": "object",
    "properties": {KEY: {"type": "boolean", "title": "Yes, go ahead"}},
    "required": [KEY],
}

Outcome = Literal["agreed", "declined", "unanswered"]
_REFUSALS = {
    "declined": "The user declined: nothing was done. Ask the user what to do instead.",
    "unanswered": "The user did not answer: nothing was done, and nothing is agreed to.",
}

_agreed: ContextVar[frozenset[str]] = ContextVar("agreed", default=frozenset())
_notices: ContextVar[tuple[str, ...]] = ContextVar("notices", default=())


def agreed() -> frozenset[str]:
    """Return the questions that the user has agreed to in this call."""
    return _agreed.get()


def notices() -> tuple[str, ...]:
    """Return what went ahead in this call because the user could not be asked."""
    return _notices.get()


def can_ask(ctx: ToolContext) -> bool:
    """Tell whether the client shows forms to its user; a bare `elicitation` means that it does."""
    declared = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    return declared is not None and (declared.form is not None or declared.url is None)


@dataclass(slots=True)
class Questions:
    """The questions of one tool."""

    _spent: dict[str, float] = field(default_factory=dict)
    """When states were used that came back with a yes: each serves one call."""

    async def asked(self, ctx: ToolContext, call: Callable[[], Awaitable[object]]) -> object:
        """Make a call, and ask the user as often as it raises a `ConfirmationError`.

        Returns:
            What the call returns, or the question for a client that calls again with the answer.

        Raises:
            ConfirmationError: The user did not agree, or cannot be asked.
        """
        is_modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        questions = self._answered(ctx) if is_modern else frozenset()
        said: tuple[str, ...] = ()
        for _ in range(MAX_QUESTIONS):
            tokens = _agreed.set(questions), _notices.set(said)
            try:
                return await call()
            except ConfirmationError as needed:
                if not can_ask(ctx):
                    if needed.notice is None:
                        raise
                    questions, said = questions | {needed.question}, (*said, needed.notice)
                    continue
                if is_modern:
                    return _question(needed.question)
                outcome = await _ask(ctx, needed.question)
                if outcome != "agreed":
                    raise _refused(outcome) from needed
                questions |= {needed.question}
            finally:
                _agreed.reset(tokens[0])
                _notices.reset(tokens[1])
        raise ConfirmationError("The question changes with every try: nothing was done. Call again later.")

    def _answered(self, ctx: ToolContext) -> frozenset[str]:
        """Return the question that comes back with a yes.

        The SDK has sealed its state: it is of this caller, these arguments and the last ten minutes, or refused.

        Raises:
            ConfirmationError: It comes back with anything else.
        """
        response = (ctx.input_responses or {}).get(KEY)
        if ctx.request_state is None or response is None:
            return frozenset()
        state = json.loads(ctx.request_state)
        outcome = _outcome(response) if isinstance(response, ElicitResult) else "unanswered"
        if outcome != "agreed":
            raise _refused(outcome)
        now = time.monotonic()
        self._spent = {nonce: used for nonce, used in self._spent.items() if now - used < STATE_LIFETIME_S}
        if state["nonce"] in self._spent:
            raise ConfirmationError("This answer of the user was used for a call before: nothing was done.")
        self._spent[state["nonce"]] = now
        return frozenset({state["question"]})


def _question(question: str) -> InputRequiredResult:
    form = ElicitRequestFormParams(message=question, requested_schema=SCHEMA)
    state = json.dumps({"nonce": secrets.token_hex(16), "question": question})
    return InputRequiredResult(input_requests={KEY: ElicitRequest(params=form)}, request_state=state)


async def _ask(ctx: ToolContext, question: str) -> Outcome:
    """Ask during the call, for as long as the settings say; a client that cannot ask after all has not asked."""
    patience = (await workspace_of(ctx)).settings.confirm_patience
    with anyio.move_on_after(patience):
        try:
            return _outcome(await ctx.session.elicit_form(question, SCHEMA, ctx.request_context.request_id))
        except (MCPError, ValidationError):
            return "unanswered"
    return "unanswered"


def _outcome(response: ElicitResult) -> Outcome:
    if response.action == "cancel":
        return "unanswered"
    is_yes = response.action == "accept" and (response.content or {}).get(KEY) is True
    return "agreed" if is_yes else "declined"


def _refused(outcome: Outcome) -> ConfirmationError:
    return ConfirmationError(_REFUSALS[outcome])
