"""A run confirmed on held-out items: what `confirm_run` answers."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from lfexp_mcp.answers.base import ToolAnswer
from lfexp_mcp.model import Interval, RunStatus


class ConfirmAnswer(ToolAnswer):
    """What the held-out items say of a run, without any of them. Its figures are rounded so that none shows through."""

    status: Annotated[RunStatus | Literal["planned"], WithJsonSchema({"type": "string"})]
    score_name: str
    verdict: Annotated[
        Literal["better", "worse", "equivalent", "inconclusive"] | None, WithJsonSchema({"type": "string"})
    ] = None
    """None until both runs are complete."""
    reason: str
    delta: float | None = None
    interval: Interval | None = None
    p_adjusted: float | None = None
    """For all looks, rounded up."""
    look: int = Field(description="Which look at these items.")
    held_out: int
    items_needed: int | None = None
    """To show `min_delta` with power 0.8, by what the shown items told."""
    min_delta: float
    """As stated before the first look; with `planned`, the smallest that the held-out items can show."""
    code: dict[str, str] = Field(default_factory=dict, description="Versions of the tasks.")
    """By run, the baseline first."""
