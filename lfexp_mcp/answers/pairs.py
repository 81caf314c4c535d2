"""Two runs compared by a pairwise judge: what `judge_pairs` answers."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from lfexp_mcp.answers.base import ToolAnswer
from lfexp_mcp.model import Interval, RunStatus


class PairsAnswer(ToolAnswer):
    """How often a judge preferred the outputs of one run to those of another."""

    status: Annotated[RunStatus, WithJsonSchema({"type": "string"})]
    run_a: str
    run_b: str
    judge: str
    score_name: str | None = Field(default=None, description="1 win, 0.5 tie, 0 loss.")
    progress: str | None = None
    wins: int = Field(default=0, description="Items that run_b won.")
    losses: int = 0
    ties: int = 0
    inconsistent: int = Field(default=0, description="Ties, by the order.")
    identical: int = Field(default=0, description="Ties, not asked.")
    unscored: int = Field(default=0, description="Pairs that lack a verdict.")
    unpaired: int = Field(default=0, description="Results without a pair.")
    preference: float | None = Field(default=None, description="For run_b; a tie is half a win.")
    interval: Interval | None = None
    p: float | None = Field(default=None, description="Sign test.")
    verdict: Literal["better", "worse", "inconclusive"] | None = None
    asked: int = Field(default=0, description="Pairs asked.")
    first_preferred: int = Field(default=0, description="First won in both orders.")
    second_preferred: int = 0
