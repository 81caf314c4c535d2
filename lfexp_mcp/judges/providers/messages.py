"""What a model is asked, and what it answers, whoever its provider is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from lfexp_mcp.model import Message

Ending = Literal["complete", "cut off", "refused"]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A question to a model."""

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, JsonValue]
    """By the names of a prompt's config; those a provider does not know are left out."""
    schema: Mapping[str, JsonValue] | None = None
    """JSON schema that the answer shall have, where the model can hold itself to one."""
    added: frozenset[str] = frozenset()
    """Those of the parameters that no prompt's config declares."""

    def wanted(self, refused: Collection[str]) -> dict[str, JsonValue]:
        """The parameters to send: what was declared in any case, what was added where it has not been refused."""
        return {
            name: value
            for name, value in self.parameters.items()
            if value is not None and not (name in self.added and name in refused)
        }


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model answered."""

    text: str
    ending: Ending
    input_tokens: int
    output_tokens: int
    metered: bool
    """Whether the provider told the tokens; else they are 0 and unknown."""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    """Those that the call was made with."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that brought no answer."""

    kind: Literal["throttled", "passing", "unsupported", "final", "refused"]
    """All calls have to slow down; this call may work later; it may work without `parameter`; it will not work; no call
    to this model will."""
    message: str
    """What went wrong, without any secret."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait."""
    parameter: str | None = None
    """What of the call the model refuses, and we can leave out or ask for in another way."""


def effort_of(parameters: Mapping[str, JsonValue]) -> JsonValue:
    """How hard a model shall think, under whichever of its names a prompt's config says so; None where it does not."""
    reasoning = parameters.get("reasoning")
    if isinstance(reasoning, dict):
        reasoning = reasoning.get("effort")
    return parameters.get("reasoning_effort") or parameters.get("effort") or reasoning


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What a provider says of our key."""

    verdict: Literal["accepted", "refused", "unknown"]
    why: str = ""
    """Why it is unknown."""


class Provider(Protocol):
    """The way to one provider's models.

    What a prompt's config declares is sent, and its refusal is the call's failure: a run that goes on without it would
    measure something else than what was asked for. Only what we add ourselves is left out where a model refuses it,
    such as the schema of the answer or a judge's temperature of 0.
    """

    async def send(self, request: ModelRequest, refused: frozenset[str]) -> ModelAnswer | CallFailure:
        """Make one HTTP call.

        Args:
            request: The question.
            refused: What its model has refused before, as `CallFailure.parameter` named it.
        """

    async def check(self) -> KeyCheck:
        """Ask whether the key is taken, by a call that costs nothing."""

    async def close(self) -> None:
        """Close the connections."""
