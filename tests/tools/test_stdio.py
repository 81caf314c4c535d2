"""The server as a process: nothing but the protocol on stdout, no secret anywhere, no work before the first call."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from lfexp_mcp.store.process import StoreConnection
from tests.tools.conftest import WriteScript
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

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
        self.opened: dict[str, Any] = {}
        """The answer to the handshake."""
        self._id = 0

    def request(self, method: str, params: JsonValue) -> dict[str, JsonValue]:
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while True:
            message = self.read()
            if message.get("id") == self._id:
                return message

    def notify(self, method: str) -> None:
        self._send({"jsonrpc": "2.0", "method": method})

    def call(self, tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
        result = self.request("tools/call", {"name": tool, "arguments": arguments})["result"]
        assert isinstance(result, dict)
        return result

    def _send(self, message: JsonValue) -> None:
        self.write(json.dumps(message))

    def write(self, line: str) -> None:
        """Write a line as it is, which need not be JSON."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, JsonValue]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server has gone"
        self.lines.append(line)
        message = json.loads(line)
        assert isinstance(message, dict)
        return message


@contextmanager
def raw_server(log: Path, handshake: JsonValue = INITIALIZE, /, **variables: str) -> Iterator[RawServer]:
    """Start a server, and shake hands with it unless `handshake` is None."""
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
        if handshake is not None:
            server.opened = server.request("initialize", handshake)
            server.notify("notifications/initialized")
        yield server
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.wait(timeout=PATIENCE_S) == 0


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


UNREADABLE = ('"\\ud800"', "[" * 250 + "]" * 250, '{"id":' * 100_000 + "1" + "}" * 100_000, "9" * 5_000, "")
"""A lone surrogate, nesting, an integer of 5,000 digits, and no value."""
MISFITS = (
    '"jsonrpc": "2.0", "params": [1]',
    '"jsonrpc": "2.0", "params": 3',
    '"jsonrpc": "2.0", "params": "{\\"id\\": 5, \\"method\\": \\"x\\"}"',
    '"jsonrpc": "1.0"',
    '"params": {"id": 5}',
)
PARSE_ERROR = -32700
INVALID_REQUEST = -32600


def test_a_request_that_cannot_be_read_is_answered_with_an_error(tmp_path: Path) -> None:
    with raw_server(tmp_path / "stderr.log") as server:
        for written_id, value in product(("71", '"seventy-one"', '"\\u0037, \\"id\\": 1"'), UNREADABLE):
            params = f'{{"a": {value}, "id": 5}}'
            server.write(f'{{"jsonrpc": "2.0", "method": "tools/call", "params": {params}, "id": {written_id}}}')
            assert _refused(server.read()) == (json.loads(written_id), PARSE_ERROR)
        for members in MISFITS:
            server.write(f'{{"id": 71, "method": "tools/list", {members}}}')
            assert _refused(server.read()) == (71, INVALID_REQUEST)
        assert "result" in server.request("tools/list", {})


def _refused(answer: dict[str, JsonValue]) -> tuple[JsonValue, JsonValue]:
    assert isinstance(answer["error"], dict)
    return answer["id"], answer["error"]["code"]


def test_a_line_without_an_id_to_answer_to_is_logged_and_the_server_goes_on(tmp_path: Path) -> None:
    unanswerable = [
        "no JSON",
        '{"jsonrpc": "2.0", "id": 71, "result": {"a": "\\ud800"}}',
        '{"jsonrpc": "2.0", "method": "notifications/x", "params": {"id": 71, "a": "\\ud800"}}',
        '{"jsonrpc": "2.0", "id": ' + "9" * 5_000 + ', "method": "ping"}',
        '{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}',
    ]
    log = tmp_path / "stderr.log"
    with raw_server(log) as server:
        for line in unanswerable:
            server.write(line)
        server.request("tools/list", {})
        answered = len(server.lines)
    assert answered == 2
    assert log.read_text(encoding="utf-8").count("Dropped a line on stdin") == len(unanswerable)
