"""What is stored in Langfuse: what `create_dataset`, `create_judge` and `create_prompt` answer."""

from pydantic import Field

from lfexp_mcp.answers.base import ToolAnswer


class DatasetAnswer(ToolAnswer):
    """A dataset after its items were stored."""

    dataset: str
    stored: int = Field(description="Items created or replaced.")
    total_items: int
    held_out: int = 0
    """Items that are set aside, and not among `total_items`."""


class JudgeAnswer(ToolAnswer):
    """A judge as stored."""

    judge: str
    version: int
    labels: list[str] = Field(default_factory=list)
    score_name: str
    scale: str = Field(description="Of its replies, such as `0-10`.")
    scale_source: str
    model: str | None = Field(default=None, description="Set if a provider's key is.")
    placeholders: list[str] = Field(default_factory=list, description="Filled in the prompt per item.")


class PromptAnswer(ToolAnswer):
    """A prompt as stored."""

    prompt: str
    version: int
    labels: list[str] = Field(default_factory=list)
    model: str | None = None
    placeholders: list[str] = Field(default_factory=list)
