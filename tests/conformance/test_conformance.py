"""The official conformance suite, against the server over HTTP, and against its copy that has the suite's fixtures."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conformance.runs import SCRIPTS
from tests.npm import node, npm_programs
from tests.serving import command, free_port
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
REVISIONS = ("2025-11-25", "2026-07-28")
"""The wire forms: with sessions, and without. A scenario of both runs in both."""
NO_FAILURES = "server: []\n"
TASK_SCENARIOS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-required-task-error",
    "tasks-mrtr-input",
    "tasks-mrtr-composition",
)
"""Those of the extension, which no revision selects; `tasks-status-notifications` checks nothing yet."""

META = "io.modelcontextprotocol"
FIRST_RUN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "slow_compute",
        "arguments": {"seconds": 0, "label": "first"},
        "_meta": {f"{META}/protocolVersion": REVISIONS[-1], f"{META}/clientCapabilities": {}},
    },
}


@pytest.fixture(scope="session")
def suite() -> list[str]:
    """The command of the suite; skips where it cannot be installed."""
    programs = npm_programs("conformance", HERE)
    return [node(programs), str(programs / "node_modules/@modelcontextprotocol/conformance/dist/index.js")]


def run_suite(suite: list[str], port: int, expected_failures: Path, *selection: str) -> None:
    """Run scenarios of the suite, and fail unless they go as expected."""
    ran = subprocess.run(
        [
            *(*suite, "server", "--url", f"http://127.0.0.1:{port}/mcp", *selection),
            *("--expected-failures", str(expected_failures), "--timeout", str(round(PATIENCE_S * 1000))),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
    )
    if ran.returncode != 0:
        pytest.fail(f"{selection}: {ran.stdout[-10_000:]}{ran.stderr}")


def run_revisions(suite: list[str], port: int, expected_failures: Path) -> None:
    """Run all scenarios of each revision."""
    for revision in REVISIONS:
        run_suite(suite, port, expected_failures, "--suite", "all", "--spec-version", revision)


@contextmanager
def fixture_server(home: Path) -> Iterator[int]:
    """Serve the server with the suite's fixtures, and return its port."""
    port = free_port()
    variables = {"LFEXP_HOME": str(home), "LFEXP_SCRIPT_FOLDERS": str(SCRIPTS)}
    with command(variables, str(port), module="tests.conformance.server") as process:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        yield port


def test_the_server_passes_what_it_has_something_for(suite: list[str], home: Path) -> None:
    port = free_port()
    with command({"LFEXP_HOME": str(home)}, "serve", "--http", "--port", str(port), "--no-auth") as process:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        run_revisions(suite, port, HERE / "expected-failures.yml")


def test_the_server_with_the_fixtures_of_the_suite_passes_all(suite: list[str], home: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.yml"
    none.write_text(NO_FAILURES, encoding="utf-8")
    with fixture_server(home) as port:
        run_revisions(suite, port, none)


@pytest.mark.skipif(not os.environ.get("LFEXP_TEST_CLIENTS"), reason="LFEXP_TEST_CLIENTS=1 takes half a minute more")
def test_runs_as_tasks_pass_what_the_suite_asks_of_tasks(suite: list[str], home: Path) -> None:
    def run(scenario: str) -> None:
        selection = ("--scenario", scenario, "--spec-version", REVISIONS[-1], "--force")
        run_suite(suite, port, HERE / "expected-failures-of-tasks.yml", *selection)

    # They mostly wait; but the suite gives each request 10 s, in which the first run would have to start the store.
    with fixture_server(home) as port, ThreadPoolExecutor(3) as pool:
        headers = {"Mcp-Method": "tools/call", "Mcp-Name": "slow_compute", "Mcp-Protocol-Version": REVISIONS[-1]}
        headers["Accept"] = "application/json, text/event-stream"
        first = httpx.post(f"http://127.0.0.1:{port}/mcp", json=FIRST_RUN, headers=headers, timeout=PATIENCE_S)
        assert first.is_success, first.text
        list(pool.map(run, TASK_SCENARIOS))
