"""A judge made or given a new version: what `create_judge` answers."""

from pydantic import Field

from lfexp_mcp.answers.base import Answer, Backend
from lfexp_mcp.model import NextStep


class JudgeAnswer(Answer):
    """A judge as it is stored now."""

    backend: Backend
    judge: str = Field(description="Name of its prompt; pass it in `judges` of run_experiment.")
    version: int
    labels: list[str]
    score_name: str = Field(description="Name of the score it gives.")
    scale: str = Field(description="The scale its replies are read on, such as `0-10`.")
    scale_source: str = Field(description="Where the scale was found.")
    model: str | None = Field(
        description="The model that answers it as things stand; null while no provider's key is set."
    )
    placeholders: list[str] = Field(description="What the prompt is filled with.")
    warnings: list[str]
    next: list[NextStep]
