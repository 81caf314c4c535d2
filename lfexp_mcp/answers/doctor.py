"""Whether lfexp-mcp can work here: what `doctor` answers."""

from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import Answer

CheckStatus = Literal["ok", "warning", "broken"]


class Check(Answer):
    """One thing checked."""

    name: str
    status: CheckStatus = Field(description="`warning`: something that only some runs need is missing.")
    found: str
    advice: str | None = Field(default=None, description="What to do; not set when all is well.")


class Diagnosis(Answer):
    """Everything checked, in the order in which to fix it."""

    healthy: bool = Field(description="Whether nothing is broken.")
    checks: list[Check]
