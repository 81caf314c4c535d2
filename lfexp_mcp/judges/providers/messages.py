"""What a model is asked, and what it answers, whoever its provider is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

ProviderName = Literal["openai", "anthropic"]
Role = Literal["system", "user", "assistant"]
Ending = Literal["complete", "cut off", "refused"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A question to a model."""

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, JsonValue]
    """By the names of a prompt's config; those a provider does not know are left out."""
    schema: Mapping[str, JsonValue] | None = None
    """JSON schema that the answer shall have, where the model can hold itself to one."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model answered."""

    text: str
    ending: Ending
    input_tokens: int
    output_tokens: int
    metered: bool
    """Whether the provider told the tokens; else they are 0 and unknown."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that brought no answer."""

    kind: Literal["throttled", "passing", "unsupported", "final"]
    """All calls have to slow down; this call may work later; it may work without `parameter`; it will not work."""
    message: str
    """What went wrong, without any secret."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait."""
    parameter: str | None = None
    """The parameter that the model refuses."""


class Provider(Protocol):
    """The way to one provider's models."""

    async def send(self, request: ModelRequest, refused: frozenset[str]) -> ModelAnswer | CallFailure:
        """Make one HTTP call.

        Args:
            request: The question.
            refused: Parameters that its model has refused before, which are left out.
        """

    async def close(self) -> None:
        """Close the connections."""
