"""What is stored in Langfuse: what `create_dataset`, `create_judge` and `create_prompt` answer."""

from pydantic import Field

from lfexp_mcp.answers.base import Answer, Backend
from lfexp_mcp.model import NextStep


class DatasetAnswer(Answer):
    """A dataset after its items were stored."""

    backend: Backend
    dataset: str
    dataset_id: str
    stored: int = Field(description="Items created or replaced by this call.")
    total_items: int = Field(description="Items in the dataset now.")
    warnings: list[str]
    next: list[NextStep]


class JudgeAnswer(Answer):
    """A judge as stored."""

    backend: Backend
    judge: str = Field(description="Name of its prompt; pass it in `judges` of run_experiment.")
    version: int
    labels: list[str]
    score_name: str = Field(description="Name of the score it gives.")
    scale: str = Field(description="The scale of its replies, such as `0-10`.")
    scale_source: str = Field(description="Where the scale was found.")
    model: str | None = Field(default=None, description="Set once a provider's key is.")
    placeholders: list[str] = Field(description="Filled in the prompt per item.")
    warnings: list[str]
    next: list[NextStep]


class PromptAnswer(Answer):
    """A prompt as stored."""

    backend: Backend
    prompt: str = Field(description="Name; pass it as `task_prompt` of run_experiment.")
    version: int
    labels: list[str]
    model: str | None = Field(default=None, description="Set once a provider's key is.")
    placeholders: list[str]
    warnings: list[str] = Field(default_factory=list)
    next: list[NextStep]
