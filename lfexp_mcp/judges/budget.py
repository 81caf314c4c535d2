"""Limits what a run spends on models."""

from collections.abc import Iterable

import anyio

from lfexp_mcp.errors import BudgetError, JudgeError
from lfexp_mcp.judges.prices import BATCH_SHARE, PriceTable, published_source
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.model import ResolvedPrompt

BYTES_PER_TOKEN = 3
"""A cautious estimate; four are usual."""
DEFAULT_ANSWER_TOKENS = 500
"""Expected length of an answer without `max_tokens`, until there has been a longer one."""


class Budget:
    """Lets a run spend up to a limit: each call reserves what it may cost, then settles what it did cost.

    A call that does not fit beside the reservations of others waits until they are settled. What a call reserves is a
    cautious estimate for its question, and as much as its answer may cost where the request has `max_tokens`. An answer
    without is expected to be no longer than the longest before it: if it is, the limit may be exceeded by the calls in
    flight; see `budget_warnings`.

    Attributes:
        max_cost: The limit in USD.
        spent: Spent so far in USD, including before the run was resumed.
    """

    def __init__(self, max_cost: float, prices: PriceTable, spent: float = 0.0) -> None:
        self.max_cost = max_cost
        self.spent = spent
        self._prices = prices
        self._reserved = 0.0
        self._in_flight = 0
        self._settled = anyio.Event()
        self._longest: dict[str, int] = {}

    @property
    def left(self) -> float:
        """What can still be reserved, in USD."""
        return self.max_cost - self.spent - self._reserved

    def check(self, models: list[str]) -> None:
        """Check before a run that the price of every model is known.

        Raises:
            JudgeError: A price is unknown, so the limit could not be kept.
        """
        unknown = sorted({model for model in models if self._prices.price_of(model) is None})
        if unknown:
            raise JudgeError(
                f"max_cost cannot be kept: neither Langfuse's model table nor {published_source()} has a price for "
                f"{', '.join(map(repr, unknown))}. Add a model definition with prices in the project's settings, or "
                "leave max_cost out."
            )

    async def reserve(self, request: ModelRequest) -> float:
        """Reserve what a call may cost, in USD, and return it; wait if what others reserved leaves no room for it.

        Raises:
            BudgetError: The budget does not cover the call, even after all others were settled.
        """
        while (cost := self._cost_of(request)) > self.left:
            # With nothing in flight, no settlement will make room.
            if not self._in_flight:
                raise BudgetError(
                    f"max_cost is reached: {self.spent:.4f} of {self.max_cost:g} USD are spent, and the next call of "
                    f"{request.model!r} may cost {cost:.4f}. Resume the run with a higher max_cost to go on."
                )
            await self._settled.wait()
        self._reserved += cost
        self._in_flight += 1
        return cost

    def admit(self, requests: Iterable[ModelRequest], submitted: Iterable[ModelRequest]) -> int:
        """Count the requests, from the first on, whose batch the budget covers: a batch cannot be stopped by its cost.

        Args:
            requests: Those to submit.
            submitted: Those in batches whose answers are not charged yet.
        """
        left = self.left - BATCH_SHARE * sum(map(self._cost_of, submitted))
        admitted = 0
        for request in requests:
            left -= BATCH_SHARE * self._cost_of(request)
            if left < 0:
                break
            admitted += 1
        return admitted

    def charge(self, request: ModelRequest, answer: ModelAnswer) -> None:
        """Add the cost of a batched request."""
        self._charge(request.model, self._cost_of(request), answer)

    def settle(self, request: ModelRequest, reserved: float, answer: ModelAnswer | None) -> None:
        """Replace a reservation with the actual cost of the call.

        Args:
            request: The call's.
            reserved: The result of `reserve`.
            answer: The answer; None costs nothing. One of unknown tokens costs what was reserved.
        """
        self._in_flight -= 1
        # Without calls in flight it is 0: a rounding error left in the sum would never be released.
        self._reserved = self._reserved - reserved if self._in_flight else 0.0
        self._charge(request.model, reserved, answer)
        self._settled.set()
        self._settled = anyio.Event()

    def _charge(self, model: str, estimate: float, answer: ModelAnswer | None) -> None:
        price = self._prices.price_of(model)
        if answer is None or price is None:
            return
        share = BATCH_SHARE if answer.batched else 1.0
        if not answer.metered:
            self.spent += estimate * share
            return
        self.spent += price.cost(answer.input_tokens, answer.output_tokens) * share
        self._longest[model] = max(self._longest.get(model, DEFAULT_ANSWER_TOKENS), answer.output_tokens)

    def _cost_of(self, request: ModelRequest) -> float:
        price = self._prices.price_of(request.model)
        if price is None:
            return 0.0
        # Of scripts with several bytes per character, a character is about a token.
        size = sum(len(message.content.encode(errors="replace")) for message in request.messages)
        return price.cost(size // BYTES_PER_TOKEN, self._answer_tokens(request))

    def _answer_tokens(self, request: ModelRequest) -> int:
        limit = request.parameters.get("max_tokens")
        return limit if isinstance(limit, int) else self._longest.get(request.model, DEFAULT_ANSWER_TOKENS)


def budget_warnings(max_cost: float | None, prompts: Iterable[ResolvedPrompt]) -> list[str]:
    """Warn of prompts whose answers may get longer than expected, so that a limit of cost is not strict."""
    unlimited = sorted({prompt.name for prompt in prompts if prompt.parameters.get("max_tokens") is None})
    if max_cost is None or not unlimited:
        return []
    warning = (
        f"max_cost may be exceeded by the calls in flight: the config of {', '.join(map(repr, unlimited))} has no "
        "`max_tokens`, so that how long an answer gets is only estimated."
    )
    return [warning]
