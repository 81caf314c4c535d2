"""A judge with everything settled that its calls need, as the run's spec keeps it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lfexp_mcp.judges.providers.messages import Message, ProviderName
from lfexp_mcp.model import JudgeMaker
from lfexp_mcp.scores import Scale, ScaleSource


class ResolvedJudge(BaseModel):
    """A judge: a version of a prompt, the model that answers it, and the scale of its answers. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name of the prompt."""
    version: int
    score_name: str
    messages: tuple[Message, ...]
    """The template; a text prompt is one user message."""
    placeholders: tuple[str, ...]
    missing_expected_output: str = ""
    """What stands for an expected output that an item does not have."""
    scale: Scale
    scale_source: ScaleSource
    provider: ProviderName
    model: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the model's calls, as the prompt's config declares them: `temperature`, `max_tokens`, `reasoning_effort`,
    ..."""
    defaults: dict[str, JsonValue] = Field(default_factory=dict)
    """What the config says nothing of, and is left out where the model refuses it."""
    samples: int = Field(default=1, ge=1)
    """How often the judge is asked about each item."""

    @property
    def maker(self) -> JudgeMaker:
        """The judge as the maker of its scores."""
        return JudgeMaker(self.name, self.version, self.provider, self.model, self.scale, self.scale_source)


def describe_judge(judge: ResolvedJudge) -> dict[str, JsonValue]:
    """Describe a judge as `answers.run.EvaluatorInfo` does, for the run's provenance."""
    kind: Literal["judge"] = "judge"
    return {
        "name": judge.name,
        "kind": kind,
        "version": judge.version,
        "model": judge.model,
        "scale": judge.scale.name,
        "scale_source": judge.scale_source,
    }
