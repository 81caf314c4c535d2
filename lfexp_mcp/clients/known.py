"""The clients and their configuration files, as their documentation has them."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lfexp_mcp.answers.clients import ClientName
from lfexp_mcp.environment import process_environment
from lfexp_mcp.errors import UsageError


@dataclass(frozen=True, slots=True)
class Client:
    """What a client's configuration looks like."""

    title: str
    servers: Literal["mcpServers", "servers", "mcp_servers"] = "mcpServers"
    """The member that holds the servers."""
    typed: bool = False
    """Whether an entry says `type: stdio`."""
    reference: str | None = None
    """How a value refers to a variable of the client's own environment; None: it cannot."""
    project_file: str | None = None
    """The file within a project, if there is one."""

    @property
    def toml(self) -> bool:
        """Whether the file is TOML."""
        return self.servers == "mcp_servers"


CLIENTS: dict[ClientName, Client] = {
    # https://modelcontextprotocol.io/docs/develop/connect-local-servers
    "claude-desktop": Client("Claude Desktop"),
    # https://code.claude.com/docs/en/mcp
    "claude-code": Client("Claude Code", typed=True, reference="${%s}", project_file=".mcp.json"),
    # https://cursor.com/docs/mcp
    "cursor": Client("Cursor", reference="${env:%s}", project_file=".cursor/mcp.json"),
    # https://code.visualstudio.com/docs/agents/reference/mcp-configuration
    "vscode": Client("VS Code", "servers", True, "${env:%s}", ".vscode/mcp.json"),
    # https://docs.windsurf.com/windsurf/cascade/mcp
    "windsurf": Client("Windsurf", reference="${env:%s}"),
    # https://geminicli.com/docs/reference/configuration
    "gemini-cli": Client("Gemini CLI", reference="${%s}", project_file=".gemini/settings.json"),
    # https://developers.openai.com/codex/mcp
    "codex": Client("Codex", "mcp_servers", project_file=".codex/config.toml"),
}
"""Each with where it is documented."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where clients keep their files."""

    platform: str
    """As `sys.platform` has it."""
    home: Path
    environment: Mapping[str, str]
    project: Path

    @classmethod
    def this(cls) -> "Machine":
        """The one that we run on, with the current folder as the project."""
        try:
            home = Path.home()
        except RuntimeError as error:
            raise UsageError(f"{error} Set HOME.") from None
        return cls(sys.platform, home, process_environment({}), Path.cwd())

    def folder(self, variable: str, default: Path) -> Path:
        """Return the folder that a variable names, if it names one, else the default."""
        return Path(self.environment.get(variable) or default)


def configuration_file(name: ClientName, machine: Machine, project: bool) -> Path:
    """Return where a client's configuration is, or would be.

    Args:
        project: Whether the project's is meant, instead of the user's.

    Raises:
        UsageError: The client has no configuration of projects.
    """
    if project:
        found = CLIENTS[name].project_file
        if found is None:
            raise UsageError(f"{CLIENTS[name].title} has no configuration of its own for a project. Omit --project.")
        return machine.project / found
    home = machine.home
    if name == "claude-desktop":
        return _claude_folder(machine) / "claude_desktop_config.json"
    if name == "claude-code":
        return machine.folder("CLAUDE_CONFIG_DIR", home) / ".claude.json"
    if name == "vscode":
        return _application_data(machine) / "Code" / "User" / "mcp.json"
    if name == "gemini-cli":
        return machine.folder("GEMINI_CLI_HOME", home) / ".gemini" / "settings.json"
    if name == "codex":
        return machine.folder("CODEX_HOME", home / ".codex") / "config.toml"
    return home / (".cursor/mcp.json" if name == "cursor" else ".codeium/windsurf/mcp_config.json")


def _application_data(machine: Machine) -> Path:
    if machine.platform == "darwin":
        return machine.home / "Library" / "Application Support"
    if machine.platform == "win32":
        return machine.folder("APPDATA", machine.home / "AppData" / "Roaming")
    return machine.folder("XDG_CONFIG_HOME", machine.home / ".config")


def _claude_folder(machine: Machine) -> Path:
    """Return the folder of Claude Desktop: packaged for Windows, it reads another one than it is said to."""
    plain = _application_data(machine) / "Claude"
    if machine.platform != "win32":
        return plain
    local = machine.folder("LOCALAPPDATA", machine.home / "AppData" / "Local")
    # https://github.com/anthropics/claude-code/issues/26073
    packaged = [*local.glob("Claude-Data/claude*"), *local.glob("Packages/Claude_*/LocalCache/Roaming/Claude")]
    folders = [each for each in packaged if each.is_dir()] + [plain]
    return next((each for each in folders if (each / "claude_desktop_config.json").exists()), folders[0])


_EPHEMERAL = re.compile(r"[\\/](?:archive|builds|environments)-v\d+[\\/]")
"""Part of the cache of uv, in which `uvx` makes environments and `uv cache prune` deletes them."""


def server_command(prefix: str, executable: str, script: Path, source: str, uvx: str | None) -> tuple[str, list[str]]:
    """Return the command that starts the server, and its arguments.

    Args:
        prefix: The environment's folder.
        executable: Its interpreter.
        script: Where its console script would be.
        source: What was installed, as `uvx --from` takes it.
        uvx: Path of `uvx`, if it is installed.
    """
    if _EPHEMERAL.search(f"{prefix}{os.sep}"):
        return uvx or "uvx", ["--from", source, "lfexp-mcp"]
    if script.is_file():
        return str(script), []
    # Without `-P`, a folder of the client's choice would come before the installed packages.
    return executable, ["-P", "-m", "lfexp_mcp"]


def is_ours(command: object, args: object) -> bool:
    """Whether an entry's command starts lfexp-mcp."""
    words = [command, *args] if isinstance(args, list) else [command]
    names = {re.split(r"[\\/]", word)[-1] for word in words if isinstance(word, str)}
    return bool(names & {"lfexp-mcp", "lfexp-mcp.exe", "lfexp_mcp"})
