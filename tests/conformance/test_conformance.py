"""The official conformance suite, against the server over HTTP, and against its copy that has the suite's fixtures."""

import subprocess
from pathlib import Path

import pytest

from tests.npm import node, npm_programs
from tests.serving import command, free_port
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
REVISIONS = ("2025-11-25", "2026-07-28")
"""The wire forms: with sessions, and without. A scenario of both runs in both."""
NO_FAILURES = "server: []\n"


@pytest.fixture(scope="session")
def suite() -> list[str]:
    """The command of the suite; skips where it cannot be installed."""
    programs = npm_programs("conformance", HERE)
    return [node(programs), str(programs / "node_modules/@modelcontextprotocol/conformance/dist/index.js")]


def run_suite(suite: list[str], port: int, expected_failures: Path) -> None:
    """Run all scenarios of each revision, and fail unless they go as expected."""
    for revision in REVISIONS:
        selection = ["--url", f"http://127.0.0.1:{port}/mcp", "--suite", "all", "--spec-version", revision]
        ran = subprocess.run(
            [*suite, "server", *selection, "--expected-failures", str(expected_failures)],
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
            check=False,
        )
        if ran.returncode != 0:
            pytest.fail(f"{revision}: {ran.stdout[-10_000:]}{ran.stderr}")


def test_the_server_passes_what_it_has_something_for(suite: list[str], home: Path) -> None:
    port = free_port()
    with command({"LFEXP_HOME": str(home)}, "serve", "--http", "--port", str(port), "--no-auth") as process:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        run_suite(suite, port, HERE / "expected-failures.yml")


def test_the_server_with_the_fixtures_of_the_suite_passes_all(suite: list[str], home: Path, tmp_path: Path) -> None:
    port = free_port()
    none = tmp_path / "none.yml"
    none.write_text(NO_FAILURES, encoding="utf-8")
    with command({"LFEXP_HOME": str(home)}, str(port), module="tests.conformance.server") as process:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        run_suite(suite, port, none)
