"""What `request_labels` and `check_judge` are asked for."""

from pydantic import Field

from lfexp_mcp.services.requests import DatasetName, Request, RunName


class LabelsRequest(Request):
    """Which results people are to label."""

    dataset: DatasetName
    run_name: RunName
    score_name: str = Field(description="The judge's score.")
    n: int | None = Field(default=None, ge=1, le=1000, description="Draw so many in all; at first 50.")
    stratify: bool = Field(default=False, description="Half of them failed, half passed.")


class JudgeCheckRequest(Request):
    """Which judge to ask again, and about what."""

    dataset: DatasetName
    run_name: RunName
    score_name: str = Field(description="The judge's score.")
    judge: str | None = Field(default=None, description="Such as `judge-tone:4`; else as it is now.")
    baseline: str | None = Field(default=None, description="Earlier run whose labels are the anchors.")
    votes: int = Field(default=1, ge=1, le=20, description="Per anchor.")
    max_cost: float | None = Field(default=None, gt=0, description="USD.")
