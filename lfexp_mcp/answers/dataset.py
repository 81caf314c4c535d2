"""A dataset made or added to: what `create_dataset` answers."""

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
