"""A question to a model and its answer, whoever the provider is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from lfexp_mcp.errors import ModelRefusedError, ProviderError
from lfexp_mcp.model import Message, ProviderName
from lfexp_mcp.retries import FailureKind, Retries

Ending = Literal["complete", "cut off", "refused"]

PROVIDER_TITLES: dict[ProviderName, str] = {"openai": "OpenAI", "anthropic": "Anthropic"}
KEY_VARIABLES: dict[ProviderName, str] = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""The environment variable of each provider's key."""
SAMPLING_PARAMETERS: dict[ProviderName, tuple[str, ...]] = {
    "openai": ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "verbosity", "service_tier"),
    "anthropic": ("temperature", "top_p", "top_k", "thinking", "service_tier"),
}
"""The parameters in a prompt's config that a provider takes under the same name. All take a limit and an effort."""
EFFORT_NAMES = ("reasoning_effort", "effort", "reasoning")
"""The names of the reasoning effort in a prompt's config, the first of them first."""


def effort_of(parameters: Mapping[str, JsonValue]) -> JsonValue:
    """Return the reasoning effort under any of its names in a prompt's config; None if it has none."""
    efforts = (
        (value.get("effort") if isinstance(value, dict) else value) for value in map(parameters.get, EFFORT_NAMES)
    )
    return next((effort for effort in efforts if effort), None)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A question to a model."""

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, JsonValue]
    """By the names of a prompt's config; those that a provider does not know are left out."""
    schema: Mapping[str, JsonValue] | None = None
    """JSON schema of the answer, for models with structured output."""
    added: frozenset[str] = frozenset()
    """The parameters that the prompt's config does not declare."""
    id: str | None = None
    """Tells it apart from all others where it may be one of a batch: up to 64 letters, digits, `_` and `-`."""

    def accepted(self, refused: Collection[str]) -> dict[str, JsonValue]:
        """Return the parameters to send: all declared ones, and added ones that the model has not refused."""
        return {
            name: value
            for name, value in self.parameters.items()
            if value is not None and not (name in self.added and name in refused)
        }


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The answer of a model."""

    text: str
    ending: Ending
    input_tokens: int
    output_tokens: int
    metered: bool
    """Whether the provider reported the tokens; otherwise they are unknown, and given as 0."""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    """The parameters of the call."""
    batched: bool = False
    """Whether it was one of a batch, and costs the price of a batch."""
    model: str | None = None
    """The model that answered, as the provider names it: an alias that was asked for may have moved."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call without an answer."""

    kind: Literal["throttled", "transient", "unsupported", "rejected", "refused", "missing"]
    """In order: all calls have to slow down; the call may succeed later; it may succeed without `parameter`; it will
    not succeed; no call to this model will; what it names, other than a model, is not there."""
    message: str
    """What went wrong, with secrets masked."""
    retry_after_s: float | None = None
    """How long the provider asks to wait."""
    parameter: str | None = None
    """A part of the call that the model refuses and that can be left out or replaced."""

    def delay(self, retries: Retries) -> float:
        """Count the failure, and return the seconds to wait before the call is made again.

        Raises:
            ModelRefusedError: No call to this model will succeed.
            ProviderError: The call will not succeed, or has failed too often.
        """
        if self.kind == "refused":
            raise ModelRefusedError(self.message)
        if self.kind not in ("throttled", "transient"):
            raise ProviderError(self.message)
        kind: FailureKind = "throttled" if self.kind == "throttled" else "failed"
        delay = retries.next_delay(kind, retry_after_s=self.retry_after_s)
        if delay is None:
            raise ProviderError(f"{self.message} Gave up after {retries.attempts} attempts.")
        return delay


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch of a provider may hold."""

    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """A batch that a provider lists."""

    id: str
    is_certain: bool
    """Whether it carries our tag; otherwise only its age and its number of requests match."""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch has come."""

    ended: str | None
    """The provider's word for how it ended; None while it goes on."""
    done: int
    """Requests that are settled, in whichever way; 0 at a provider that does not tell."""
    problem: str | None = None
    """Why the provider took none of its requests."""
