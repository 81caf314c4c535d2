"""From the start of the server's process to the answer of `tools/list`, against a server with one empty tool."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from pydantic import JsonValue

LIMIT = 1.2
ROUNDS = 15
EMPTY_SERVER = """
from mcp.server import MCPServer

server = MCPServer("empty")


@server.tool()
def nothing() -> None:
    "Do nothing."


server.run()
"""
INITIALIZE: JsonValue = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "b", "version": "0"},
}


def seconds_to_tools(command: Sequence[str]) -> float:
    """Start a server, ask for its tools, and return the seconds until they came."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        _ask(process, {"id": 1, "method": "initialize", "params": INITIALIZE})
        _send(process, {"method": "notifications/initialized"})
        _ask(process, {"id": 2, "method": "tools/list"})
        took = time.perf_counter() - begun
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    return took


def _send(process: subprocess.Popen[str], message: dict[str, JsonValue]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    process.stdin.flush()


def _ask(process: subprocess.Popen[str], message: dict[str, JsonValue]) -> None:
    _send(process, message)
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline())
    assert "result" in answer, answer


def measure() -> tuple[float, float]:
    """Return the median seconds of the empty server and of ours, measured in turns after one round each to warm up."""
    empty = [sys.executable, "-c", EMPTY_SERVER]
    ours = [sys.executable, "-m", "lfexp_mcp"]
    seconds_to_tools(empty)
    seconds_to_tools(ours)
    pairs = [(seconds_to_tools(empty), seconds_to_tools(ours)) for _ in range(ROUNDS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def main() -> None:
    """Print the figures, and whether they hold."""
    empty, ours = measure()
    ratio = ours / empty
    verdict = "holds" if ratio <= LIMIT else "DOES NOT HOLD"
    sys.stdout.write(
        f"start-up to tools/list: empty server {empty:.3f} s, lfexp-mcp {ours:.3f} s, "
        f"ratio {ratio:.2f} (limit {LIMIT}): {verdict}\n"
    )


if __name__ == "__main__":
    main()
