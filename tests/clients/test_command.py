"""The shell's `setup`: what it asks, prints and exits with."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lfexp_mcp.answers.clients import ServerChecks, SetupAnswer
from lfexp_mcp.cli.app import run_command
from tests.cli.conftest import Ran
from tests.clients.conftest import KEYS
from tests.waiting import PATIENCE_S

Command = Callable[..., Ran]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Clients' files in this test's folder, on any platform."""
    folders = {name: str(tmp_path / "data") for name in ("APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME")}
    return {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), **folders, **KEYS}


@pytest.fixture
def command(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        code = run_command(["setup", *arguments])
        printed = capsys.readouterr()
        assert "82c4" not in printed.out + printed.err
        return Ran(code, printed.out, printed.err)

    return run


def test_without_a_terminal_nothing_is_written_unless_that_is_said(command: Command, tmp_path: Path) -> None:
    file = tmp_path / ".cursor" / "mcp.json"
    for flags in ([], ["--json"]):
        refused = command("cursor", *flags)
        assert refused.code == 2
        assert "--yes" in refused.err
        assert not file.exists()
    for flags in (["--dry-run"], ["--dry-run", "--yes"], ["--print"]):
        assert command("cursor", *flags).code == 0
        assert not file.exists()
    made = command("cursor", "--yes", "--json")
    assert (made.code, SetupAnswer.model_validate(made.json).status) == (0, "created")
    written = json.loads(file.read_text(encoding="utf-8"))["mcpServers"]["langfuse-experiments"]
    assert written["env"] == KEYS
    assert "unchanged" in command("cursor").out


def test_the_printed_entry_can_be_pasted(command: Command) -> None:
    printed = command("vscode", "--print", "--name", "mine")
    assert list(printed.json) == ["servers"]
    assert "<LANGFUSE_SECRET_KEY>" in printed.out


def test_what_has_to_be_done_by_hand_is_printed_and_exits_with_2(command: Command, tmp_path: Path) -> None:
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor" / "mcp.json").write_text("// mine\n{}", encoding="utf-8")
    for client, flag in (("cursor", "--yes"), ("cursor", "--dry-run"), ("codex", "--yes")):
        ran = command(client, flag)
        assert ran.code == 2
        assert "langfuse-experiments" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [(), ("no-such-client",), ("windsurf", "--project", "--yes"), ("cursor", "--yes", "--name", "a b"), ("--check",)],
    ids=" ".join,
)
def test_wrong_use_exits_with_2(command: Command, arguments: tuple[str, ...]) -> None:
    ran = command(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


def test_half_of_the_keys_is_no_set_up(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LANGFUSE_SECRET_KEY")
    assert command("cursor", "--yes").code == 2
    assert not (tmp_path / ".cursor").exists()


def test_the_server_gets_what_it_needs_with_whole_paths_and_nothing_else(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        "LANGFUSE_TRACING_ENVIRONMENT": "dev",
        "OPENAI_API_KEY": "sk-o",
        "ANTHROPIC_BASE_URL": "",
        "LFEXP_HOME": "runs",
        "LFEXP_PYTHON": "python3",
        "LFEXP_HTTP_TOKEN": "secret",
        "LFEXP_EMBEDDED_STORE": "0",
        "LFEXP_UNKNOWN": "1",
        "AWS_SECRET_ACCESS_KEY": "a",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert command("cursor", "--yes").code == 0
    written = json.loads((tmp_path / ".cursor" / "mcp.json").read_text(encoding="utf-8"))
    assert written["mcpServers"]["langfuse-experiments"]["env"] == KEYS | {
        "LANGFUSE_TRACING_ENVIRONMENT": "dev",
        "OPENAI_API_KEY": "sk-o",
        "LFEXP_HOME": str((tmp_path / "runs").resolve()),
        "LFEXP_PYTHON": "python3",
    }


def test_a_check_exits_with_2_where_a_server_does_not_start(command: Command, tmp_path: Path) -> None:
    entry = {"mcpServers": {"langfuse-experiments": {"command": str(tmp_path / "lfexp-mcp")}}}
    (tmp_path / ".mcp.json").write_text(json.dumps(entry), encoding="utf-8")
    ran = command("--check", "claude-code", "--project", "--json")
    assert ran.code == 2
    (check,) = ServerChecks.model_validate(ran.json).checks
    assert not check.healthy
    assert "broken" in command("--check", "--project").out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals there")
@pytest.mark.parametrize(("said", "code"), [("y\n", 0), ("n\n", 2), ("\x04", 2)])
def test_at_a_terminal_it_asks_first(environment: dict[str, str], tmp_path: Path, said: str, code: int) -> None:
    import pty

    main, terminal = pty.openpty()
    ran = subprocess.Popen(
        [sys.executable, "-m", "lfexp_mcp", "setup", "cursor"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **environment},
    )
    os.write(main, said.encode())
    out, err = ran.communicate(timeout=PATIENCE_S)
    os.close(main)
    os.close(terminal)
    assert ran.returncode == code, err
    assert "<LANGFUSE_SECRET_KEY>" in out
    assert (tmp_path / ".cursor" / "mcp.json").exists() is (code == 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"), [("lfexp-mcp get-", "get-run"), ("lfexp-mcp setup wind", "windsurf"), ("lfexp-mcp x", "")]
)
def test_a_shell_that_completes_is_answered_and_not_served(
    environment: dict[str, str], words: str, expected: str
) -> None:
    asked = {"_LFEXP_MCP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ran = subprocess.run(
        [sys.executable, "-m", "lfexp_mcp"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        env={**os.environ, **environment, **asked},
        check=False,
    )
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, expected.split(), "")
