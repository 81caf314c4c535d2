"""The server as a process: nothing but the protocol on stdout, no secret anywhere, no work before the first call."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.store.process import StoreConnection
from tests.tools.conftest import WriteScript

INITIALIZE: JsonValue = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "0"},
}
NOISY_TASK = """
import os
import sys

print("printed at import")


def task(*, item, **kwargs):
    print("printed by the task")
    os.write(1, b"written to descriptor 1")
    sys.stderr.write("written to stderr")
    return item.input
"""


class RawServer:
    """A server process spoken to line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._id = 0

    def request(self, method: str, params: JsonValue) -> dict[str, JsonValue]:
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while True:
            message = self._read()
            if message.get("id") == self._id:
                return message

    def notify(self, method: str) -> None:
        self._send({"jsonrpc": "2.0", "method": method})

    def call(self, tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
        result = self.request("tools/call", {"name": tool, "arguments": arguments})["result"]
        assert isinstance(result, dict)
        return result

    def _send(self, message: JsonValue) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _read(self) -> dict[str, JsonValue]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server has gone"
        self.lines.append(line)
        message = json.loads(line)
        assert isinstance(message, dict)
        return message


@contextmanager
def raw_server(log: Path, **variables: str) -> Iterator[RawServer]:
    with (
        log.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "lfexp_mcp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            env={**os.environ, **variables},
        ) as process,
    ):
        server = RawServer(process)
        server.request("initialize", INITIALIZE)
        server.notify("notifications/initialized")
        yield server
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.wait(timeout=60) == 0


def test_stdout_carries_the_protocol_alone_whatever_a_task_prints(
    tmp_path: Path, home: Path, store: StoreConnection, write_script: WriteScript
) -> None:
    variables = {
        "LFEXP_HOME": str(home),
        "LANGFUSE_HOST": store.base_url,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
    }
    with raw_server(tmp_path / "stderr.log", **variables) as server:
        server.call("create_dataset", name="noisy", items=[{"input": "x"}])
        task = str(write_script("task.py", NOISY_TASK))
        ran = server.call("run_experiment", run_name="r", dataset="noisy", task_script=task)["structuredContent"]
    assert isinstance(ran, dict)
    assert ran["status"] == "completed"
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in server.lines)
    log = Path(str(ran["log"])).read_text(encoding="utf-8")
    assert "printed at import" in log
    assert "printed by the task" in log
    assert "written to descriptor 1" in log


def test_no_secret_appears_in_an_answer_a_log_or_a_file(
    tmp_path: Path, home: Path, store: StoreConnection, write_script: WriteScript
) -> None:
    provider_key = "sk-a-provider-key-that-nobody-may-see"
    variables = {
        "LFEXP_HOME": str(home),
        "LANGFUSE_HOST": store.base_url,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
        "OPENAI_API_KEY": provider_key,
    }
    stderr = tmp_path / "stderr.log"
    with raw_server(stderr, **variables) as server:
        server.call("create_dataset", name="secrets", items=[{"input": "x"}])
        task = str(write_script("task.py", "def task(*, item, **kwargs):\n    raise RuntimeError(item.input)\n"))
        server.call("run_experiment", run_name="r", dataset="secrets", task_script=task)
        server.call("get_run", dataset="secrets", run_name="r", detail="full")
        server.call("get_run", dataset="no such dataset", run_name="r")
    written = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert written
    for secret in (store.secret_key.encode(), provider_key.encode()):
        assert secret not in "".join(server.lines).encode()
        assert secret not in stderr.read_bytes()
        assert not any(secret in content for content in written)


def test_listing_the_tools_touches_neither_home_nor_environment(tmp_path: Path, home: Path) -> None:
    with raw_server(tmp_path / "stderr.log", LFEXP_HOME=str(home), LANGFUSE_PUBLIC_KEY="pk-alone") as server:
        tools = server.request("tools/list", {})["result"]
    assert isinstance(tools, dict)
    assert tools["tools"]
    assert not home.exists()


@pytest.mark.parametrize("module", ["langfuse", "openai", "anthropic", "scipy", "numpy", "pydantic_settings"])
def test_the_server_starts_without(module: str) -> None:
    program = f"import sys, lfexp_mcp.tools.server as s; s.build_server(); sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
