"""Calls models: paced per provider, with retries and a budget, and every call metered."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import anyio

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import JudgeError, ProviderError
from lfexp_mcp.gateway import host_of
from lfexp_mcp.judges.batches import Batches, Outcome
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.providers.messages import KEY_VARIABLES, CallFailure, ModelAnswer, ModelRequest
from lfexp_mcp.judges.providers.provider import NOTHING, Provider
from lfexp_mcp.masking import mask
from lfexp_mcp.model import ModelUsage, ProviderName
from lfexp_mcp.retries import Retries, RetryPolicy
from lfexp_mcp.settings import Settings

POLICY = RetryPolicy(attempts=8, throttled_attempts=40, first_delay_s=0.5, max_delay_s=30.0)
ONE_CALL = RetryPolicy(attempts=1, throttled_attempts=1)
"""For replays: waiting does not change what a recording answers."""
TIMEOUT_S = 120.0
"""Time-out of one call."""


@dataclass(slots=True)
class Meter:
    """Adds up what calls use, as they are made."""

    usage: ModelUsage = field(default_factory=ModelUsage)

    def add(self, used: ModelUsage) -> None:
        """Add what a call used."""
        self.usage += used


class OnRetry(Protocol):
    """Called for each failed call that is retried."""

    def __call__(self, provider: ProviderName, *, rate_limited: bool) -> None:
        """Record a retry, and whether the provider had throttled the call."""


class ModelClient:
    """Calls the models of all providers, for all judges and prompt tasks of a run.

    A provider is connected to on its first use, and all connections are closed on exit.

    Args:
        settings: Keys, base URLs and `judge_concurrency`.
        policy: How calls are retried.
        timeout_s: Seconds that one call may take.
        budget: Limits what all calls together may cost.
        on_retry: Called for each failed call that is retried.

    Example:
        async with ModelClient(settings) as models:
            answer = await models.ask("openai", ModelRequest("gpt-5.4-mini", messages, {}), Meter())
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: RetryPolicy = POLICY,
        timeout_s: float = TIMEOUT_S,
        budget: Budget | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._timeout_s = timeout_s
        self._budget = budget
        self._on_retry = on_retry
        self._providers: dict[ProviderName, _PacedProvider] = {}
        self._batched: Mapping[str, Outcome] = {}
        self._closed: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        with anyio.CancelScope(shield=True):
            for paced in self._providers.values():
                await paced.provider.close()

    def batches(self, provider: ProviderName) -> Batches:
        """Return the batches of a provider.

        Raises:
            JudgeError: The provider's key is not set.
        """
        return Batches(self._provider(provider).provider, self._policy)

    def use(self, batched: Mapping[str, Outcome], closed: str | None = None) -> None:
        """Answer requests from batches, which are charged already.

        Args:
            batched: The outcomes by the requests' ids.
            closed: Why no calls are made for others; None if they are.
        """
        self._batched, self._closed = batched, closed

    async def ask(self, provider: ProviderName, request: ModelRequest, meter: Meter) -> ModelAnswer:
        """Ask a model, with retries.

        Args:
            meter: Counts all calls made, failed ones included.

        Raises:
            ProviderError: The model gave no answer.
            ModelRefusedError: The provider refuses all calls to this model.
            BudgetError: The budget does not cover the call.
            JudgeError: The provider's key is not set.
        """
        if request.id is not None and (outcome := self._batched.get(request.id)) is not None:
            meter.add(_batched_usage(outcome))
            if isinstance(outcome, CallFailure):
                raise ProviderError(outcome.message)
            return outcome
        if self._closed is not None:
            raise ProviderError(self._closed)
        paced = self._provider(provider)
        if self._budget is None:
            return await paced.ask(request, meter)
        reserved = await self._budget.reserve(request)
        answer: ModelAnswer | None = None
        try:
            answer = await paced.ask(request, meter)
            return answer
        finally:
            self._budget.settle(request, reserved, answer)

    def mask(self, text: str) -> str:
        """Mask the keys that this process knows in a text that a model wrote."""
        keys = (self._settings.openai_api_key, self._settings.anthropic_api_key, self._settings.langfuse_secret_key)
        return mask(text, *(key.get_secret_value() for key in keys if key is not None))

    def open_ahead(self, providers: Iterable[ProviderName]) -> None:
        """Import the SDKs of some providers ahead, which takes a moment; errors are left to the first call."""
        for provider in providers:
            with suppress(JudgeError):
                self._provider(provider)

    def _provider(self, provider: ProviderName) -> "_PacedProvider":
        if provider not in self._providers:
            client = open_provider(provider, self._settings, self._timeout_s)
            pace = Pace(self._settings.judge_concurrency)
            self._providers[provider] = _PacedProvider(client, pace, self._policy, self._on_retry)
        return self._providers[provider]


def _batched_usage(outcome: Outcome) -> ModelUsage:
    if isinstance(outcome, CallFailure):
        return ModelUsage(calls=1, batched=1)
    tokens_in, tokens_out = outcome.input_tokens, outcome.output_tokens
    return ModelUsage(
        calls=1,
        unmetered=int(not outcome.metered),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        batched=1,
        batched_input_tokens=tokens_in,
        batched_output_tokens=tokens_out,
    )


def open_provider(name: ProviderName, settings: Settings, timeout_s: float) -> Provider:
    """Create the client of a provider, importing its SDK.

    Raises:
        JudgeError: Its key is not set, or its base URL is not a valid URL.
    """
    is_openai = name == "openai"
    key = settings.openai_api_key if is_openai else settings.anthropic_api_key
    base_url = settings.openai_base_url if is_openai else settings.anthropic_base_url
    if key is None:
        raise JudgeError(f"{KEY_VARIABLES[name]} is not set. Set it in the environment of lfexp-mcp.")
    if base_url is not None and host_of(base_url) is None:
        # Not shown, since it may contain a password.
        raise JudgeError(
            f"{name.upper()}_BASE_URL is not a valid URL. Set it to one such as http://localhost:8000/v1, or unset it."
        )
    if is_openai:
        from lfexp_mcp.judges.providers.openai import OpenAIProvider

        return OpenAIProvider(key.get_secret_value(), base_url, timeout_s)
    from lfexp_mcp.judges.providers.anthropic import AnthropicProvider

    return AnthropicProvider(key.get_secret_value(), base_url, timeout_s)


class Pace:
    """Limits the calls to one provider.

    A throttled call makes all calls wait and halves the concurrency; each round of successful calls raises it by one
    again (additive increase, multiplicative decrease, as in TCP, RFC 5681).
    """

    def __init__(self, concurrency: int) -> None:
        self._max_concurrency = concurrency
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._open_at = 0.0
        self._succeeded = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it during one call."""
        async with self._limiter:
            # A call that is throttled meanwhile postpones the time for those that wait.
            while (wait := self._open_at - CLOCK.monotonic()) > 0:  # noqa: ASYNC110
                await anyio.sleep(wait)
            yield

    def slow_down(self, seconds: float) -> None:
        """Stop all calls for some seconds, then halve the concurrency, once for all calls throttled together."""
        now = CLOCK.monotonic()
        if now >= self._open_at:
            self._limiter.total_tokens = max(1, int(self._limiter.total_tokens) // 2)
            self._succeeded = 0
        self._open_at = max(self._open_at, now + seconds)

    def succeeded(self) -> None:
        """Record a call that succeeded."""
        self._succeeded += 1
        if self._succeeded >= self._limiter.total_tokens < self._max_concurrency:
            self._limiter.total_tokens += 1
            self._succeeded = 0


class _PacedProvider:
    """A provider with its pace, and what its models have refused so far."""

    def __init__(self, provider: Provider, pace: Pace, policy: RetryPolicy, on_retry: OnRetry | None) -> None:
        self.provider = provider
        self._on_retry = on_retry
        self._pace = pace
        self._policy = policy
        self._refused: dict[str, frozenset[str]] = {}

    async def ask(self, request: ModelRequest, meter: Meter) -> ModelAnswer:
        retries = Retries(self._policy)
        repeated = False
        while True:
            outcome = await self._call(request, meter, repeated=repeated)
            if isinstance(outcome, ModelAnswer):
                return outcome
            repeated = True
            if outcome.parameter is not None:
                self._refused[request.model] = self._refused.get(request.model, NOTHING) | {outcome.parameter}
                continue
            delay, throttled = outcome.delay(retries), outcome.kind == "throttled"
            if self._on_retry is not None:
                self._on_retry(self.provider.name, rate_limited=throttled)
            if throttled:
                # All calls to the provider wait, this one with its next turn.
                self._pace.slow_down(delay)
            else:
                await anyio.sleep(delay)

    async def _call(self, request: ModelRequest, meter: Meter, *, repeated: bool) -> ModelAnswer | CallFailure:
        async with self._pace.turn():
            began = CLOCK.monotonic()
            # Before it is made, so that one which is cancelled counts as well.
            meter.add(ModelUsage(calls=1, retries=int(repeated)))
            refused = self._refused.get(request.model, NOTHING)
            outcome = await self.provider.send(request, refused)
            if isinstance(outcome, ModelAnswer):
                outcome = replace(outcome, parameters=request.accepted(refused))
                self._pace.succeeded()
                answered = ModelUsage(
                    unmetered=int(not outcome.metered),
                    input_tokens=outcome.input_tokens,
                    output_tokens=outcome.output_tokens,
                    seconds=CLOCK.monotonic() - began,
                )
                meter.add(answered)
        return outcome
