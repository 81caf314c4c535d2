"""Labels that people are asked for: what `request_labels` answers."""

from pydantic import Field

from lfexp_mcp.answers.base import ToolAnswer


class LabelsAnswer(ToolAnswer):
    """How far the labelling of drawn results is."""

    queue: str
    url: str | None = None
    config: str = Field(description="Score config that people label by.")
    population: int
    drawn: int
    labelled: int = Field(default=0, description="Of the drawn.")
    random: int = Field(default=0, description="Of these, how many correct means: up to the first unlabelled one.")
    skipped: int = 0
    volunteered: int = Field(default=0, description="Labels of results that were not drawn; they correct nothing.")
    void: str | None = None
