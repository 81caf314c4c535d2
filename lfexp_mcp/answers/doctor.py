"""Whether lfexp-mcp can work here: what `doctor` answers."""

from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import Answer

CheckStatus = Literal["ok", "warning", "broken"]


class Check(Answer):
    """One thing looked at."""

    name: str
    status: CheckStatus = Field(description="`warning`: something that only some runs need is missing.")
    found: str
    advice: str | None = Field(default=None, description="What to do; null when all is well.")


class Diagnosis(Answer):
    """Everything looked at, in the order in which it has to be mended."""

    healthy: bool = Field(description="Whether nothing is broken.")
    checks: list[Check]
