"""What a run may spend on models."""

from dataclasses import dataclass

import anyio

from lfexp_mcp.errors import BudgetError, JudgeError
from lfexp_mcp.judges.prices import PriceTable, published_source
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest

CHARACTERS_PER_TOKEN = 3
"""On the safe side of the usual four."""
TOKENS_OF_AN_ANSWER = 500
"""Expected of an answer whose length is not limited, until some have come."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call."""

    model: str
    cost: float


class Budget:
    """Lets a run spend up to a limit: each call sets aside what it may cost, and settles what it did.

    What is set aside is an upper bound, so that a call which only the open reservations leave no room for waits until
    they are settled.

    Attributes:
        max_cost: The limit in USD.
        spent: What has been spent, in USD, by this run before it was resumed included.
    """

    def __init__(self, max_cost: float, prices: PriceTable, spent: float = 0.0) -> None:
        self.max_cost = max_cost
        self.spent = spent
        self._prices = prices
        self._reserved = 0.0
        self._in_flight = 0
        self._settled = anyio.Event()
        self._answers: dict[str, tuple[int, int]] = {}

    @property
    def left(self) -> float:
        """What can still be set aside, in USD."""
        return self.max_cost - self.spent - self._reserved

    def check(self, models: list[str]) -> None:
        """Check, before a run begins, that the price of every model is known.

        Raises:
            JudgeError: One is not, so that the limit could not be kept.
        """
        unknown = sorted({model for model in models if self._prices.price_of(model) is None})
        if unknown:
            raise JudgeError(
                f"max_cost cannot be kept: neither Langfuse's model table nor {published_source()} has a price of "
                f"{', '.join(map(repr, unknown))}. Add a model definition with prices in the project's settings, or "
                "leave max_cost out."
            )

    async def reserve(self, request: ModelRequest) -> Reservation:
        """Set aside what a call may cost; wait for open reservations where they leave no room for it.

        Raises:
            BudgetError: The budget does not cover it, even after all other calls were settled.
        """
        while (cost := self._cost_of(request)) > self.left:
            if not self._in_flight:
                raise BudgetError(
                    f"max_cost is reached: {self.spent:.4f} of {self.max_cost:g} USD are spent, and the next call of "
                    f"{request.model!r} may cost {cost:.4f}. Resume the run with a higher max_cost to go on."
                )
            await self._settled.wait()
        self._reserved += cost
        self._in_flight += 1
        return Reservation(request.model, cost)

    def settle(self, reservation: Reservation, answer: ModelAnswer | None) -> None:
        """Replace what was set aside by what the call did cost.

        Args:
            reservation: What `reserve` gave.
            answer: What came; None costs nothing. One without tokens is taken to cost what was set aside.
        """
        self._in_flight -= 1
        # Sums of floats leave a remainder, which would count as spent for good.
        self._reserved = self._reserved - reservation.cost if self._in_flight else 0.0
        self._charge(reservation, answer)
        self._settled.set()
        self._settled = anyio.Event()

    def _charge(self, reservation: Reservation, answer: ModelAnswer | None) -> None:
        price = self._prices.price_of(reservation.model)
        if answer is None or price is None:
            return
        if not answer.metered:
            self.spent += reservation.cost
            return
        self.spent += price.cost(answer.input_tokens, answer.output_tokens)
        answers, tokens = self._answers.get(reservation.model, (0, 0))
        self._answers[reservation.model] = (answers + 1, tokens + answer.output_tokens)

    def _cost_of(self, request: ModelRequest) -> float:
        price = self._prices.price_of(request.model)
        if price is None:
            return 0.0
        characters = sum(len(message.content) for message in request.messages)
        return price.cost(characters // CHARACTERS_PER_TOKEN, self._answer_tokens(request))

    def _answer_tokens(self, request: ModelRequest) -> int:
        limit = request.parameters.get("max_tokens")
        answers, tokens = self._answers.get(request.model, (0, 0))
        if answers:
            return -(-tokens // answers)
        return limit if isinstance(limit, int) else TOKENS_OF_AN_ANSWER
