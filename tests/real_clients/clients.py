"""Clients that others make, each told which tools of the server to call.

Each is a program of its own. `bridge.py` and `bridge.mjs` keep a connection open and are told of calls on stdin; the
Inspector is started for each call.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from pydantic import JsonValue

from tests.npm import cache_folder, install, node, npm_programs
from tests.waiting import PATIENCE_S

HERE = Path(__file__).parent
INSPECTOR = "node_modules/@modelcontextprotocol/inspector/package.json"

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client finds the server: what to start, or a URL."""

    command: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, JsonValue]:
        """Return what the SDKs call it."""
        if self.url:
            return {"url": self.url, "headers": dict(self.headers)}
        return {"command": self.command[0], "args": [*self.command[1:]], "env": dict(self.env)}


class RealClient(Protocol):
    """A client that is connected to the server."""

    version: str | None
    """The protocol version that it negotiated, if it tells."""

    def tools(self) -> list[str]:
        """List the names of the server's tools."""

    def call(self, tool: str, **arguments: JsonValue) -> Answer:
        """Call a tool that works, and return its structured content."""


class Bridge:
    """A bridge program, which keeps the connection open."""

    def __init__(self, process: subprocess.Popen[str], target: Target) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._requests: IO[str] = process.stdin
        self._answers: IO[str] = process.stdout
        first = self._ask(target.parameters())
        self.version: str | None = first["version"]
        self._tools: list[str] = first["tools"]

    def tools(self) -> list[str]:
        return self._tools

    def call(self, tool: str, **arguments: JsonValue) -> Answer:
        return _content(self._ask({"name": tool, "arguments": arguments}))

    def abandon(self, tool: str, **arguments: JsonValue) -> None:
        """Call a tool, and let the client cancel the call when it hears of progress."""
        assert self._ask({"name": tool, "arguments": arguments, "abandon": True}) == {"abandoned": True}

    def _ask(self, request: dict[str, JsonValue]) -> Answer:
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        line = self._answers.readline()
        assert line, "the client has gone; its stderr tells why"
        answer: Answer = json.loads(line)
        return answer


class Inspector:
    """The Inspector's command line, which connects anew for each call."""

    version: str | None = None

    def __init__(self, programs: Path, target: Target) -> None:
        package = programs / INSPECTOR
        entry = json.loads(package.read_text(encoding="utf-8"))["bin"]["mcp-inspector"]
        self._command = [node(programs), str(package.parent / entry), "--cli"]
        self._target = target

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self._run("tools/list")["tools"]]

    def call(self, tool: str, **arguments: JsonValue) -> Answer:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
        given = [part for name, text in texts.items() for part in ("--tool-arg", f"{name}={text}")]
        return _content(self._run("tools/call", "--tool-name", tool, *given))

    def _run(self, method: str, *options: str) -> Answer:
        target = self._target
        where = [target.url] if target.url else target.command
        headers = [part for name, value in target.headers.items() for part in ("--header", f"{name}: {value}")]
        env = [part for name, value in target.env.items() for part in ("-e", f"{name}={value}")]
        ran = subprocess.run(
            [*self._command, *env, *where, "--method", method, *options, *headers],
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        answer: Answer = json.loads(ran.stdout)
        return answer


def _content(result: Answer) -> Answer:
    content: Answer = result["structuredContent"]
    assert not result.get("isError"), content
    return content


def python_environment(number: int) -> str:
    """Return the Python of the environment that `requirements-NUMBER.txt` pins, made once per machine."""
    pins = HERE / f"requirements-{number}.txt"
    folder = cache_folder(f"python-{sys.version_info.major}.{sys.version_info.minor}-sdk-{number}", pins)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    create = [sys.executable, "-m", "venv", str(folder)]
    install(folder, create, [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins)])
    return str(python)


@contextmanager
def connected(name: str, target: Target) -> Iterator[RealClient]:
    """Connect a client by its name."""
    if name.startswith("inspector"):
        yield Inspector(npm_programs("clients", HERE), target)
        return
    package, _, major = name.rpartition(" ")
    if package == "typescript":
        folder = npm_programs("clients", HERE)
        command = [node(folder), str(HERE / "bridge.mjs"), major]
    else:
        folder = HERE
        command = [python_environment(1 if name == "mcp 1" else 2), str(HERE / "bridge.py"), name]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            yield Bridge(process, target)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
