"""The command as a process: pipes and terminals, Ctrl-C, serving."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mcp import Client
from mcp.types import TextResourceContents

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.tools.registry import TOOLS
from tests.cli.conftest import Shell
from tests.serving import command, free_port
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

LINGERING = """
import time
from pathlib import Path


def task(*, item, **kwargs):
    Path({mark!r}).touch()
    time.sleep({seconds})
    return item.input
"""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C for one process there")


def _lingering_run(shell: Shell, tmp_path: Path, seconds: float) -> tuple[str, ...]:
    """Make a dataset of ten items, and return the arguments that run a lingering task over it."""
    dataset = f"lingering {tmp_path.name}"
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps({"input": number}) + "\n" for number in range(10)), encoding="utf-8")
    assert shell("dataset", "create", "--name", dataset, "--items-file", str(items)).code == 0
    script = tmp_path / "task.py"
    script.write_text(LINGERING.format(mark=str(tmp_path / "begun"), seconds=seconds), encoding="utf-8")
    return ("run", "--dataset", dataset, "--run-name", "r", "--task-script", str(script), "--max-concurrency", "1")


@posix_only
def test_ctrl_c_cancels_the_run_and_keeps_what_is_done(
    shell: Shell, shell_environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = _lingering_run(shell, tmp_path, seconds=0.2)
    with command(shell_environment, *arguments, "--json") as process:
        wait_until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "Cancelling" in err
    assert "Traceback" not in err
    run = RunAnswer.model_validate_json(out)
    assert run.status == "cancelled"
    assert run.pending
    resumed = shell(*arguments, "--resume", "--json")
    assert RunAnswer.model_validate(resumed.json).succeeded == 10


@posix_only
def test_a_second_ctrl_c_kills_the_run(shell: Shell, shell_environment: dict[str, str], tmp_path: Path) -> None:
    arguments = _lingering_run(shell, tmp_path, seconds=600)
    with command(shell_environment, *arguments, "--json") as process:
        wait_until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "Cancelling" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert "Killing" in err
    assert process.returncode == 1, err
    assert RunAnswer.model_validate_json(out).status in ("cancelled", "failed")


def test_a_pipe_gets_plain_text_and_no_bar(shell: Shell, shell_environment: dict[str, str], tmp_path: Path) -> None:
    arguments = _lingering_run(shell, tmp_path, seconds=0)
    with command({**shell_environment, "PYTHONIOENCODING": "ascii"}, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "\x1b" not in out
    assert err == ""
    assert "10 of 10 items succeeded" in out


@pytest.mark.skipif(sys.platform != "linux", reason="it has /dev/full")
@pytest.mark.parametrize(
    ("redirections", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("> /dev/full", 2),
        ("2> /dev/full", 0),
        ("--limit 0 2>&-", 2),
        ("--limit 0 2> /dev/full", 2),
        ("--limit 0 >&- 2>&-", 2),
    ],
)
def test_streams_that_take_nothing_make_no_other_exit_code_than_that_of_an_error(
    shell: Shell, shell_environment: dict[str, str], tmp_path: Path, redirections: str, code: int
) -> None:
    dataset = f"unheard {tmp_path.name}"
    assert shell("dataset", "create", "--name", dataset).code == 0
    line = f'exec "$@" {redirections}'
    words = ["sh", "-c", line, "sh", sys.executable, "-m", "lfexp_mcp", "list-runs", "--dataset", dataset]
    environment = {**os.environ, **shell_environment}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == code
    assert "bug" not in ran.stderr
    assert "Traceback" not in ran.stderr


@posix_only
def test_a_reader_that_has_gone_is_told_from_a_gate_that_failed(
    shell: Shell, shell_environment: dict[str, str], tmp_path: Path
) -> None:
    dataset = f"unread {tmp_path.name}"
    assert shell("dataset", "create", "--name", dataset).code == 0
    reader, writer = os.pipe()
    os.close(reader)
    listing = [sys.executable, "-m", "lfexp_mcp", "list-runs", "--dataset", dataset]
    environment = {**os.environ, **shell_environment}
    with subprocess.Popen(listing, stdout=writer, stderr=subprocess.PIPE, env=environment, text=True) as process:
        os.close(writer)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals there")
@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_tables_and_colours_unless_it_wants_none(
    shell: Shell, shell_environment: dict[str, str], tmp_path: Path, no_color: str, coloured: bool
) -> None:
    import pty

    arguments = _lingering_run(shell, tmp_path, seconds=0)
    assert shell(*arguments).code == 0
    main, terminal = pty.openpty()
    environment = {**os.environ, **shell_environment, "NO_COLOR": no_color, "TERM": "xterm-256color"}
    listing = [sys.executable, "-m", "lfexp_mcp", "list-runs", "--dataset", arguments[2]]
    with subprocess.Popen(listing, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b"".join(_read_terminal(main)).decode()
        assert process.wait(timeout=PATIENCE_S) == 0
    os.close(main)
    assert "─" in shown
    assert ("\x1b[32m" in shown) is coloured


def _read_terminal(main: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:
            # Linux reports the end of a pseudo-terminal as an error.
            return
        if not chunk:
            return
        yield chunk


REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.mark.anyio
async def test_http_without_a_token_is_served_only_where_that_is_said(shell_environment: dict[str, str]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with command(shell_environment, "serve", "--http", "--port", str(port), "--no-auth") as process:
        assert process.stderr is not None
        assert "every program on this machine" in process.stderr.readline()
        async with Client(url) as client:
            assert len((await client.list_tools()).tools) == len(TOOLS)
            (datasets,) = (await client.read_resource("langfuse://datasets")).contents
            assert isinstance(datasets, TextResourceContents)
            assert json.loads(datasets.text)["backend"] == shell_environment["LANGFUSE_HOST"]
            refused = await client.call_tool("list_runs", {"dataset": "no such dataset"})
            assert refused.is_error
        async with httpx.AsyncClient() as http:
            foreign = await http.post(url, json=REQUEST, headers={"Host": "evil.example"})
            assert foreign.status_code == 421
            cross = await http.post(url, json=REQUEST, headers={"Origin": "https://evil.example"})
            assert cross.status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize("known", ["", "a-token-of-this-test"])
async def test_http_asks_for_a_token_and_prints_the_one_it_made(shell_environment: dict[str, str], known: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    environment = shell_environment | {"LFEXP_HTTP_TOKEN": known}
    with command(environment, "serve", "--http", "--port", str(port)) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert url in first
        token = known or process.stderr.readline().rpartition(" ")[2].strip()
        assert token not in first
        async with httpx.AsyncClient(headers={"Accept": "application/json, text/event-stream"}) as http:
            for given in ({}, {"Authorization": "Bearer another"}, {"Authorization": token}):
                refused = await http.post(url, json=REQUEST, headers=given)
                assert refused.status_code == 401
                assert token not in refused.text
            for scheme in ("Bearer", "bearer", "BEARER"):
                served = await http.post(url, json=REQUEST, headers={"Authorization": f"{scheme} {token}"})
                assert served.status_code not in (401, 403, 421)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("show_secret", [False, True])
def test_the_store_tells_its_address_and_keeps_its_secret_unless_asked(tmp_path: Path, show_secret: bool) -> None:
    folder = tmp_path / "store"
    flags = ["--show-secret"] if show_secret else []
    with command({}, "store", "--folder", str(folder), *flags) as process:
        assert process.stdout is not None
        host, public = (process.stdout.readline().strip().partition("=") for _ in range(2))
        assert host[0] == "LANGFUSE_HOST"
        assert httpx.get(f"{host[2]}/api/public/health").status_code == 200
        assert public[0] == "LANGFUSE_PUBLIC_KEY"
        secret = json.loads((folder / "keys.json").read_text(encoding="utf-8"))["secret_key"]
        process.terminate()
        out = process.stdout.read()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (secret in out) is show_secret
    assert secret not in err
    assert show_secret or str(folder) in err
