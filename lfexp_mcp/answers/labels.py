"""Labels that people are asked for, and judges checked by them: what `request_labels` and `check_judge` answer."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from lfexp_mcp.answers.base import Answer, ToolAnswer
from lfexp_mcp.model import Estimate

JudgeVerdict = Literal["higher", "lower", "unchanged", "inconclusive"]
"""What is shown of a judge's shift; `unchanged` is by less than 0.05 either way."""


class LabelsAnswer(ToolAnswer):
    """How far the labelling of drawn results is."""

    queue: str
    """Its page, or its name where the store has no pages."""
    population: int
    drawn: int
    labelled: int = 0
    random: int = Field(default=0, description="Labels that correct means: those before the first missing one.")
    void: str | None = None


class JudgeStanding(Answer):
    """A judge, and how near it is to people on the anchors."""

    judge: str
    agreement: float | None = None
    """Share that it passes or fails as people do; by the anchors' weights, as `bias`."""
    bias: float | None = Field(default=None, description="Minus people.")


class JudgeCheck(ToolAnswer):
    """How far a judge has moved, and how near it is to people."""

    status: Annotated[Literal["running", "completed"], WithJsonSchema({"type": "string"})]
    anchors: int
    unreadable: int = 0
    """Anchors without a verdict now."""
    then: JudgeStanding
    now: JudgeStanding
    shift: Estimate | None = None
    """Of the judge on the same outputs, now minus then."""
    verdict: Annotated[JudgeVerdict, WithJsonSchema({"type": "string"})] | None = None
    newly_pass: int = 0
    newly_fail: int = 0
    self_disagreement: float | None = None
    """Mean difference between two votes on one output."""
    position_bias: Estimate | None = Field(default=None, description="First minus second.")
    application_shift: Estimate | None = None
    """From the baseline to the run, without the judge's own."""
    cost_usd: float | None = None


class Corrected(Answer):
    """A judge's mean, or the delta of two runs, corrected by people's labels of results that were drawn at random."""

    estimate: Estimate | None = None
    labels: int
    labels_needed: int | None = None
    sensitivity: Estimate | None = None
    """Share that the judge passes of what people pass."""
    specificity: Estimate | None = None
    """Share that it fails of what they fail."""
    summary: str
