"""What registries, bundles and containers read: `server.json`, `manifest.json`, `.mcpbignore` and `Dockerfile`.

Their published schemas are checked where `LFEXP_TEST_SCHEMAS` names a folder that has them as `server.json` and
`manifest.json`, as in CI; what they require of these files is checked everywhere.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.core import TyperGroup

from lfexp_mcp import __version__
from lfexp_mcp.cli.app import app
from lfexp_mcp.clients.setup import is_secret
from lfexp_mcp.settings import Settings, server_variables
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCHEMAS = os.environ.get("LFEXP_TEST_SCHEMAS", "")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _load(name: str) -> dict[str, Any]:
    value = json.loads((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


SERVER = _load("server.json")
MANIFEST = _load("manifest.json")
(PACKAGE,) = SERVER["packages"]
VARIABLE_TABLE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").partition("## Environment variables")[2]


@pytest.mark.skipif(not SCHEMAS, reason="LFEXP_TEST_SCHEMAS names no folder with the published schemas")
@pytest.mark.parametrize("name", ["server.json", "manifest.json"])
def test_a_file_is_valid_by_the_schema_that_is_published(name: str) -> None:
    schema = json.loads((Path(SCHEMAS) / name).read_text(encoding="utf-8"))
    assert schema.get("$id") in (None, SERVER["$schema"])
    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(_load(name))


def test_the_version_is_that_of_the_package() -> None:
    assert {SERVER["version"], PACKAGE["version"], MANIFEST["version"]} == {__version__}


def test_the_registry_finds_the_package_and_its_owner() -> None:
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", SERVER["name"])
    assert 1 <= len(SERVER["description"]) <= 100
    assert (PACKAGE["registryType"], PACKAGE["identifier"]) == ("pypi", PROJECT["name"])
    assert PACKAGE["transport"] == {"type": "stdio"}
    # PyPI shows the README, by which the registry knows that name and package belong together.
    assert f"<!-- mcp-name: {SERVER['name']} -->" in README


def test_the_registry_is_told_of_variables_that_exist_and_which_are_secret() -> None:
    variables = PACKAGE["environmentVariables"]
    assert all(f"`{each['name']}`" in VARIABLE_TABLE and each["description"] for each in variables)
    assert {each["name"] for each in variables if each.get("isSecret")} == {
        each["name"] for each in variables if is_secret(each["name"], "")
    }
    assert {each["name"] for each in variables} >= set(MANIFEST["server"]["mcp_config"]["env"])


def test_the_bundle_has_what_its_format_requires() -> None:
    assert MANIFEST["manifest_version"] == "0.4"
    assert (MANIFEST["name"], MANIFEST["license"]) == (PROJECT["name"], PROJECT["license"])
    assert all(MANIFEST[field] for field in ("description", "author"))
    assert MANIFEST["server"]["type"] == "uv"
    assert MANIFEST["compatibility"]["runtimes"]["python"] == PROJECT["requires-python"]
    assert set(MANIFEST["compatibility"]["platforms"]) == {"darwin", "win32", "linux"}


def test_the_bundle_asks_for_each_variable_and_hides_the_secret_ones() -> None:
    environment = MANIFEST["server"]["mcp_config"]["env"]
    asked = MANIFEST["user_config"]
    used = {re.fullmatch(r"\$\{user_config\.(\w+)\}", value)[1]: name for name, value in environment.items()}  # type: ignore[index]
    assert set(used) == set(asked)
    for key, option in asked.items():
        assert option["title"]
        assert option["description"]
        assert option.get("sensitive", False) is is_secret(used[key], "")
        # Without a default, a host passes the reference itself on as the value.
        assert isinstance(option["default"], str)
        assert not option["required"]


def test_what_the_bundle_leaves_empty_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MANIFEST["server"]["mcp_config"]["env"]:
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert settings.embedded
    assert settings.python is None
    assert server_variables(settings) == {}


def test_the_bundle_holds_what_building_the_package_reads() -> None:
    kept = {line[2:] for line in (ROOT / ".mcpbignore").read_text(encoding="utf-8").splitlines() if line[:2] == "!/"}
    assert kept == {"lfexp_mcp", "manifest.json", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}


RUN_AS_FILE = """
import runpy, sys
entry, sys.path[0], sys.argv[1:] = sys.argv[1], sys.argv[2], ["--help"]
try:
    runpy.run_path(entry, run_name="__main__")
except SystemExit as end:
    assert not end.code
import statistics
assert statistics.mean([1, 3]) == 2
"""


@pytest.mark.slow
def test_the_entry_point_run_as_a_file_hides_no_module_of_python(tmp_path: Path) -> None:
    entry = MANIFEST["server"]["entry_point"]
    assert MANIFEST["server"]["mcp_config"]["args"][-1] == entry
    file = ROOT / entry
    ran = subprocess.run(
        [sys.executable, "-c", RUN_AS_FILE, str(file), str(file.parent)],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_container_copies_what_the_package_needs_and_serves_where_it_says() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [source for line in re.findall(r"^COPY (.*) \S+$", text, flags=re.MULTILINE) for source in line.split()]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "lfexp_mcp"} <= set(copied)
    (command,) = re.findall(r"^CMD (.*)$", text, flags=re.MULTILINE)
    program, name, *arguments = json.loads(command)
    assert program in PROJECT["scripts"]
    commands = typer.main.get_command(app)
    assert isinstance(commands, TyperGroup)
    options = commands.commands[name].make_context(name, arguments).params
    (port,) = re.findall(r"^EXPOSE (.*)$", text, flags=re.MULTILINE)
    assert (options["http"], options["host"], options["port"]) == (True, "0.0.0.0", int(port))
    assert f"http://127.0.0.1:{port}/healthz" in text
    (variables,) = re.findall(r"^ENV (.*)$", text, flags=re.MULTILINE)
    assert {each.split("=")[0] for each in variables.split()} <= set(re.findall(r"`([A-Z_]+)`", VARIABLE_TABLE))
