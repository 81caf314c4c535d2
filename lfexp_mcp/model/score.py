"""Evaluations, the scores made of them, and missing scores."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from lfexp_mcp.model.maker import OTHERS, HumanMaker, RunMaker, ScoreMaker

ScoreDataType = Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT"]
ScoreSource = Literal["API", "EVAL", "ANNOTATION"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluator or judge said of one item, or of a whole run; a `Score` once it has an id and a maker.

    The attributes are those of the Langfuse SDK's `Evaluation`.
    """

    name: str
    value: float | bool | str
    data_type: ScoreDataType
    comment: str | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    config_id: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One score of one item, or of a whole run."""

    id: str
    name: str
    value: float | bool | str
    """As Langfuse stores it: a judge's number on the canonical 0-1 scale, a BOOLEAN as bool, a category as text."""
    data_type: ScoreDataType
    comment: str | None = None
    """The judge's or human's reason; None also where it was not read, as Langfuse leaves it out of items."""
    source: ScoreSource = "API"
    raw: float | None = None
    """The judge's value on its own scale, if that differs from `value`."""
    clamped: bool = False
    """Whether `raw` lies outside its scale and `value` is the nearest end, as earlier versions scored it."""
    config_id: str | None = None
    author: str | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    timestamp: datetime | None = None
    maker: ScoreMaker = OTHERS
    # What it is a score of is known to whoever journals a score, and not journaled with each.
    trace_id: Annotated[str | None, Field(exclude=True)] = None
    observation_id: Annotated[str | None, Field(exclude=True)] = None
    """The observation of the trace; None for a score of the whole trace."""
    session_id: Annotated[str | None, Field(exclude=True)] = None
    experiment_id: Annotated[str | None, Field(exclude=True)] = None
    """Set for a score of a run as a whole."""
    queue_id: Annotated[str | None, Field(exclude=True)] = None
    """The annotation queue in which a human gave it."""

    def __post_init__(self) -> None:
        if self.source == "ANNOTATION":
            object.__setattr__(self, "maker", HumanMaker(self.author, self.config_id))


@dataclass(frozen=True, slots=True)
class EvaluatorFailure:
    """A score that is missing because its evaluator or judge failed; not counted as zero."""

    name: str
    """The score's name, or the evaluator's where the score's is not known."""
    error: str
    maker: RunMaker | None = None
    """Which of the makers of such a score failed; None where that is not known."""
    at: datetime | None = None
