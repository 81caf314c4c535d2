"""What is stored in Langfuse: what `create_dataset`, `create_judge` and `create_prompt` answer."""

from pydantic import Field

from lfexp_mcp.answers.base import Answer, StoredIn
from lfexp_mcp.model import NextStep


class DatasetAnswer(Answer):
    """A dataset after its items were stored."""

    backend: StoredIn
    dataset: str
    stored: int = Field(description="Items created or replaced.")
    total_items: int
    warnings: list[str] = Field(default_factory=list)
    next: list[NextStep] = Field(default_factory=list)


class JudgeAnswer(Answer):
    """A judge as stored."""

    backend: StoredIn
    judge: str
    version: int
    labels: list[str] = Field(default_factory=list)
    score_name: str
    scale: str = Field(description="Of its replies, such as `0-10`.")
    scale_source: str
    model: str | None = Field(default=None, description="Set if a provider's key is.")
    placeholders: list[str] = Field(default_factory=list, description="Filled in the prompt per item.")
    warnings: list[str] = Field(default_factory=list)
    next: list[NextStep] = Field(default_factory=list)


class PromptAnswer(Answer):
    """A prompt as stored."""

    backend: StoredIn
    prompt: str
    version: int
    labels: list[str] = Field(default_factory=list)
    model: str | None = None
    placeholders: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    next: list[NextStep] = Field(default_factory=list)
