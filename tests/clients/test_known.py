from pathlib import Path
from typing import get_args

import pytest

from lfexp_mcp.answers.clients import ClientName
from lfexp_mcp.clients.known import CLIENTS, configuration_file, server_command
from lfexp_mcp.clients.setup import is_secret, source_of
from lfexp_mcp.errors import UsageError
from tests.clients.conftest import MakeMachine

MAC = "Library/Application Support"
ROAMING = "AppData/Roaming"


@pytest.mark.parametrize(
    ("client", "linux", "darwin", "win32"),
    [
        ("claude-desktop", ".config/Claude", f"{MAC}/Claude", f"{ROAMING}/Claude"),
        ("claude-code", ".claude.json", ".claude.json", ".claude.json"),
        ("cursor", ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json"),
        ("vscode", ".config/Code/User/mcp.json", f"{MAC}/Code/User/mcp.json", f"{ROAMING}/Code/User/mcp.json"),
        ("windsurf", *(".codeium/windsurf/mcp_config.json",) * 3),
        ("gemini-cli", *(".gemini/settings.json",) * 3),
        ("codex", *(".codex/config.toml",) * 3),
    ],
)
def test_each_client_has_a_file_for_its_user_on_each_platform(
    make_machine: MakeMachine, client: ClientName, linux: str, darwin: str, win32: str
) -> None:
    for platform, expected in (("linux", linux), ("darwin", darwin), ("win32", win32)):
        machine = make_machine(platform)
        file = "claude_desktop_config.json" if client == "claude-desktop" else ""
        assert configuration_file(client, machine, project=False) == machine.home / expected / file


@pytest.mark.parametrize(
    ("client", "platform", "variable", "file"),
    [
        ("claude-desktop", "linux", "XDG_CONFIG_HOME", "Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", "APPDATA", "Claude/claude_desktop_config.json"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "Code/User/mcp.json"),
        ("vscode", "win32", "APPDATA", "Code/User/mcp.json"),
        ("claude-code", "darwin", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("gemini-cli", "linux", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("codex", "win32", "CODEX_HOME", "config.toml"),
    ],
)
def test_a_variable_of_the_client_moves_its_file(
    make_machine: MakeMachine, tmp_path: Path, client: ClientName, platform: str, variable: str, file: str
) -> None:
    moved = make_machine(platform, {variable: str(tmp_path / "moved")})
    assert configuration_file(client, moved, project=False) == tmp_path / "moved" / file
    unset = make_machine(platform, {variable: ""})
    assert unset.home in configuration_file(client, unset, project=False).parents


@pytest.mark.parametrize("folder", ["Packages/Claude_pzs8/LocalCache/Roaming/Claude", "Claude-Data/claude_1"])
def test_claude_desktop_as_a_windows_package_reads_the_folder_of_the_package(
    make_machine: MakeMachine, folder: str
) -> None:
    machine = make_machine("win32")
    packaged = machine.home / "AppData/Local" / folder
    packaged.mkdir(parents=True)
    assert configuration_file("claude-desktop", machine, project=False).parent == packaged
    plain = machine.home / ROAMING / "Claude"
    plain.mkdir(parents=True)
    assert configuration_file("claude-desktop", machine, project=False).parent == packaged
    (plain / "claude_desktop_config.json").write_text("{}", encoding="utf-8")
    assert configuration_file("claude-desktop", machine, project=False).parent == plain
    (packaged / "claude_desktop_config.json").write_text("{}", encoding="utf-8")
    assert configuration_file("claude-desktop", machine, project=False).parent == packaged


def test_a_project_has_a_file_where_the_client_reads_one(make_machine: MakeMachine) -> None:
    machine = make_machine()
    for name, client in CLIENTS.items():
        if client.project_file is None:
            with pytest.raises(UsageError):
                configuration_file(name, machine, project=True)
        else:
            assert configuration_file(name, machine, project=True) == machine.project / client.project_file


def test_every_client_is_described() -> None:
    assert set(CLIENTS) == set(get_args(ClientName))


UVX = "/home/u/.cache/uv/archive-v0/kQRrUeFE1i-K"


@pytest.mark.parametrize(
    ("prefix", "command", "arguments"),
    [
        ("/home/u/project/.venv", "SCRIPT", []),
        ("/home/u/.local/share/uv/tools/lfexp-mcp", "SCRIPT", []),
        (UVX, "/bin/uvx", ["--from", "/src", "lfexp-mcp"]),
        ("/var/cache/elsewhere/environments-v2/abc", "/bin/uvx", ["--from", "/src", "lfexp-mcp"]),
        (r"C:\Users\u\AppData\Local\uv\cache\archive-v0\abc", "/bin/uvx", ["--from", "/src", "lfexp-mcp"]),
    ],
)
def test_a_command_outlives_the_environment_that_uvx_made(
    tmp_path: Path, prefix: str, command: str, arguments: list[str]
) -> None:
    script = tmp_path / "lfexp-mcp"
    script.touch()
    found = server_command(prefix, "/python", script, "/src", "/bin/uvx")
    assert found == (command.replace("SCRIPT", str(script)), arguments)


def test_without_a_console_script_the_interpreter_runs_the_module(tmp_path: Path) -> None:
    assert server_command("/usr", "/usr/bin/python3", tmp_path / "none", "/src", None) == (
        "/usr/bin/python3",
        ["-P", "-m", "lfexp_mcp"],
    )


def test_uvx_that_is_not_on_the_path_is_left_to_the_client(tmp_path: Path) -> None:
    assert server_command(UVX, "/python", tmp_path / "none", "/src", None)[0] == "uvx"


@pytest.mark.parametrize(
    ("recorded", "source"),
    [
        ({"url": "https://example.org/lfexp_mcp-0.1.0.whl", "archive_info": {}}, None),
        (
            {"url": "https://github.com/a/b", "vcs_info": {"vcs": "git", "commit_id": "0f3c"}},
            "git+https://github.com/a/b@0f3c",
        ),
    ],
)
def test_what_was_installed_is_installed_again(recorded: dict[str, str], source: str | None) -> None:
    assert source_of(recorded) == (source or recorded["url"])


def test_a_folder_that_was_installed_is_given_as_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a copy"
    assert Path(source_of({"url": folder.as_uri(), "dir_info": {}})) == folder


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("LANGFUSE_SECRET_KEY", "x", True),
        ("LANGFUSE_PUBLIC_KEY", "x", True),
        ("OPENAI_API_KEY", "local", True),
        ("MY_TOKEN", "x", True),
        ("LANGFUSE_HOST", "https://me:pw@langfuse.example", True),
        ("OPENAI_BASE_URL", "http://proxy/sk-abc123456", True),
        ("LANGFUSE_HOST", "https://langfuse.example", False),
        ("LFEXP_JUDGE_MODEL", "gpt-5.4-mini", False),
        ("LFEXP_KEEP_RUNS", "5", False),
    ],
)
def test_what_is_not_to_be_shown_is_known_by_name_and_by_look(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret
