"""Datasets and judges stored in Langfuse: what `create_dataset` and `create_judge` answer."""

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
