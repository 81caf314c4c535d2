"""Prompts of Langfuse with everything settled that their calls need: judges, and a prompt that is the task."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lfexp_mcp.model.maker import JudgeMaker
from lfexp_mcp.model.scale import Scale

ProviderName = Literal["openai", "anthropic"]
Role = Literal["system", "user", "assistant"]
ScaleSource = Literal["prompt config", "score config", "prompt text", "default"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation with a model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a chat prompt in Langfuse."""

    role: str
    """Usually `system`, `user` or `assistant`; Langfuse allows any."""
    content: str


TRACE_PLACEHOLDERS = frozenset({"trace", "tool_calls"})
"""Placeholders that show what the task did."""


class ResolvedPrompt(BaseModel):
    """A version of a prompt with the model that answers it, such as one that is the task. Holds no secret."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str
    version: int
    messages: tuple[Message, ...]
    """The template; a text prompt is one user message."""
    placeholders: tuple[str, ...]
    provider: ProviderName
    model: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the model's calls, as the prompt's config declares them: `temperature`, `max_tokens`, `reasoning_effort`,
    ..."""


class ResolvedJudge(ResolvedPrompt):
    """A judge: a version of a prompt, the model that answers it, and the scale of its answers. Holds no secret."""

    score_name: str
    missing_expected_output: str = ""
    """What stands for an expected output that an item does not have."""
    scale: Scale
    scale_source: ScaleSource
    defaults: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters that the config does not declare, left out where the model refuses them."""
    trace_budget: int = 20_000
    """Characters that `{{trace}}` and `{{tool_calls}}` may each have."""
    samples: int = Field(default=1, ge=1)
    """How often the judge is asked about each item."""
    against: str | None = None
    """Of a pairwise judge: the run whose outputs it compares those of the scored run with."""

    @property
    def takes_trace(self) -> bool:
        """Whether it looks at what the task did."""
        return not TRACE_PLACEHOLDERS.isdisjoint(self.placeholders)

    @property
    def maker(self) -> JudgeMaker:
        """The judge as the maker of its scores."""
        return JudgeMaker(
            self.name, self.version, self.provider, self.model, self.scale, self.scale_source, self.against
        )
