"""The data's way: tools and cli -> services -> gateway and runs; nothing runs back."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lfexp_mcp"

PURE = {
    "clock",
    "disk",
    "environment",
    "errors",
    "evaluators",
    "files",
    "groups",
    "imports",
    "loopback",
    "masking",
    "model",
    "retries",
    "answers",
    "scores",
    "spool",
    "statistics",
    "strict_json",
    "themes",
}
"""Know nobody but each other."""

MAY_IMPORT: dict[str, set[str]] = {
    "declarations": set(),
    "clock": set(),
    "disk": set(),
    "environment": set(),
    "errors": {"model"},
    "groups": {"errors"},
    "imports": set(),
    "loopback": set(),
    "model": set(),
    "retries": {"clock"},
    "files": {"errors"},
    "masking": set(),
    "answers": {"model"},
    "scores": {"errors", "model"},
    "statistics": {"errors", "model"},
    "spool": {"errors"},
    "strict_json": set(),
    "themes": {"errors"},
    "settings": {"environment", "errors"},
    "store": {"disk", "errors", "loopback", "strict_json"},
    "evaluators": {"errors", "model", "strict_json"},
    "scripts": {"errors", "evaluators", "model"},
    "gateway": PURE | {"settings", "store"},
    "runs": PURE | {"settings"},
    "judges": PURE | {"settings", "gateway"},
    "worker": PURE | {"settings", "gateway", "runs", "judges", "scripts"},
    "services": PURE | {"settings", "gateway", "runs", "judges"},
    "reports": PURE,
    "clients": PURE,
    "demo": PURE | {"services"},
    "tools": PURE | {"services", "reports", "settings"},
    "cli": PURE | {"services", "reports", "settings", "clients", "demo", "store", "tools"},
    "__main__": {"cli", "environment", "tools"},
}

SERVICES_MAY_IMPORT: dict[str, set[str]] = {
    "next_steps": set(),
    "launches": {"next_steps"},
    "run_cache": set(),
    "background": set(),
    "workspace": {"background", "launches", "run_cache"},
    "spending": {"workspace", "requests"},
    "answer_size": set(),
    "metadata_conditions": set(),
    "requests": {"answer_size", "metadata_conditions"},
    "cursors": set(),
    "intervals": set(),
    "doctor": {"workspace"},
    "definitions": {"workspace", "spending", "next_steps", "metadata_conditions"},
    "runs": {
        "workspace",
        "requests",
        "metadata_conditions",
        "next_steps",
        "launches",
        "run_cache",
        "answer_size",
        "cursors",
    },
    "catalog": {"workspace", "requests", "next_steps", "answer_size", "cursors", "definitions", "runs"},
    "experiments": {
        "workspace",
        "spending",
        "requests",
        "next_steps",
        "launches",
        "metadata_conditions",
        "definitions",
        "production_traces",
        "comparison",
        "runs",
    },
    "production_traces": {"workspace", "requests", "metadata_conditions", "definitions", "annotations"},
    "collection": {
        "workspace",
        "requests",
        "definitions",
        "experiments",
        "production_traces",
        "runs",
    },
    "labels": {"workspace", "spending", "requests", "next_steps", "runs", "background"},
    "comparison": {"workspace", "requests", "answer_size", "cursors", "intervals", "runs", "labels"},
    "sweeps": {
        "workspace",
        "spending",
        "requests",
        "next_steps",
        "launches",
        "runs",
        "experiments",
        "comparison",
    },
    "confirmation": {
        "workspace",
        "requests",
        "spending",
        "next_steps",
        "launches",
        "runs",
        "experiments",
        "comparison",
    },
    "handles": {
        "workspace",
        "background",
        "requests",
        "next_steps",
        "runs",
        "experiments",
        "sweeps",
        "confirmation",
    },
    "annotations": {"workspace", "requests", "answer_size", "cursors", "intervals", "runs"},
    "analysis": {"workspace", "requests", "answer_size", "cursors", "intervals", "runs", "annotations", "labels"},
}
"""The parts of the services among each other."""

HEAVY = {
    "anthropic",
    "genai_prices",
    "jinja2",
    "langfuse",
    "numpy",
    "openai",
    "opentelemetry",
    "rapidfuzz",
    "ray",
    "regex",
    "rich",
    "scipy",
    "snowballstemmer",
    "typer",
    "uvicorn",
}
ALREADY_IN_MCP = {"opentelemetry", "uvicorn"}


@cache
def _imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_layers_below(path: Path) -> None:
    part = _part(path)
    parts = {
        name.split(".")[1]
        for name in _imports(path)
        if name.startswith("lfexp_mcp.") and name != "lfexp_mcp.__version__"
    }
    assert parts - {part} <= MAY_IMPORT[part]


SERVICES = [path for path in MODULES if _part(path) == "services" and path.name != "__init__.py"]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_service_imports_only_from_the_services_below(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[1].removesuffix(".py")
    parts = {name.split(".")[2] for name in _imports(path) if name.startswith("lfexp_mcp.services.")}
    assert parts - {part} <= SERVICES_MAY_IMPORT[part]


@pytest.mark.parametrize("table", [MAY_IMPORT, SERVICES_MAY_IMPORT], ids=["parts", "services"])
def test_the_layers_run_one_way(table: dict[str, set[str]]) -> None:
    assert set(TopologicalSorter(table).static_order()) == set(table)


def test_one_module_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if {"os.environ", "os.getenv"} & _imports(path)
        or "os.environ" in (text := path.read_text(encoding="utf-8"))
        or "getenv(" in text
    ]
    assert readers == ["environment.py"]


def test_every_part_of_the_package_has_its_place_in_the_layers() -> None:
    assert {_part(path) for path in MODULES} == set(MAY_IMPORT)


@pytest.mark.slow
def test_the_server_starts_without_what_only_calls_need() -> None:
    program = "import sys, lfexp_mcp.tools.server; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in ran.stdout.split()} & HEAVY <= ALREADY_IN_MCP


@pytest.mark.slow
def test_a_worker_starts_without_what_only_a_terminal_needs() -> None:
    command = [sys.executable, "-X", "importtime", "-P", "-m", "lfexp_mcp.worker"]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.stderr.splitlines()}
    assert "httpx" in imported
    assert not imported & {"click", "pygments", "rich", "typer"}


@pytest.mark.slow
def test_httpx_is_whole_but_for_its_command_line() -> None:
    program = (
        "import sys\n"
        "from lfexp_mcp.imports import import_httpx\n"
        "import_httpx()\n"
        "import_httpx()\n"
        "import httpx\n"
        "assert 'rich' not in sys.modules and 'httpx._main' not in sys.modules\n"
        "print(httpx.Client.__module__, callable(httpx.main))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["httpx", "True"]
