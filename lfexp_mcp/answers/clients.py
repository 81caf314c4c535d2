"""How this installation stands: what `doctor`, `setup` and `setup --check` answer."""

from typing import Literal

from pydantic import Field

from lfexp_mcp.answers.base import Answer

ClientName = Literal["claude-desktop", "claude-code", "cursor", "vscode", "windsurf", "gemini-cli", "codex"]
SetupStatus = Literal["created", "updated", "unchanged", "planned", "by_hand"]


class SetupAnswer(Answer):
    """What a client's configuration has, or would get."""

    client: ClientName
    file: str = Field(description="The client's configuration file.")
    name: str = Field(description="Of the server, in the client.")
    status: SetupStatus = Field(description="`planned`: nothing is written yet; `by_hand`: nothing can be.")
    snippet: str = Field(default="", description="The server's entry, names of variables in place of secrets.")
    backup: str | None = Field(default=None, description="Copy of the file as it was.")
    problem: str | None = Field(default=None, description="Why nothing can be written.")
    notes: list[str] = Field(default_factory=list)


class ServerCheck(Answer):
    """A start of the server by a client's entry."""

    client: ClientName
    file: str
    command: str = ""
    healthy: bool
    seconds: float | None = Field(default=None, description="From the start until the tools were listed.")
    tools: int = 0
    problem: str | None = None
    stderr: str | None = Field(default=None, description="End of what the server wrote to stderr.")


class ServerChecks(Answer):
    """A start by the entry of each client that has one."""

    name: str
    checks: list[ServerCheck]


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
