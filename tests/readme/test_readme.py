"""README and docs are held to what they say: commands run or parse, names and links exist, scripts load."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from mcp import Client, StdioServerParameters
from pydantic import AliasChoices

from lfexp_mcp.cli.app import app
from lfexp_mcp.cli.flags import repeat_list_flags
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.registry import TOOLS
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
CONFIG = ROOT / "claude_desktop_config.example.json"
INTERNAL = {"LFEXP_EMBEDDED_STORE"}
"""Set by lfexp-mcp for its own worker, not by users."""

SET_UP = "python3 -m venv .venv && .venv/bin/pip install -q"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", "\n".join(PAGES.values()), flags=re.DOTALL)


BASH_LINES = [line for block in _blocks("bash") for line in block.splitlines()]
SHELL_LINES = sorted({line for line in BASH_LINES if line.startswith("lfexp-mcp ")})


def _one_liner(part: str) -> str:
    (line,) = [line for line in BASH_LINES if line.startswith(SET_UP) and part in line]
    return line


def _demonstrate(home: Path, **variables: str) -> str:
    command = _one_liner("demo").rpartition("&& .venv/bin/")[2]
    assert command == "lfexp-mcp demo"
    ran = subprocess.run(
        [sys.executable, "-m", "lfexp_mcp", *shlex.split(command)[1:]],
        env={**os.environ, "LFEXP_HOME": str(home), **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_one_line_sets_up_and_runs_the_demo_which_can_be_shown_again_and_leaves_an_account_alone(home: Path) -> None:
    shown = _demonstrate(home)
    assert "correct 0.60" in shown
    assert "labelled-total-1: correct 0.90" in shown
    assert "better" in shown
    assert "notation = comma" in shown
    assert "Try next" in shown
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-x", "LANGFUSE_SECRET_KEY": "sk-lf-x"}
    again = _demonstrate(home, **keys, LANGFUSE_HOST="http://127.0.0.1:9")
    assert "labelled-total-2: correct 0.90" in again
    assert "unset them" in again


def test_one_line_sets_up_and_passes_the_tests() -> None:
    line = _one_liner("pytest")
    assert "-e '.[dev]' -c requirements.lock" in line
    assert line.endswith("&& .venv/bin/pytest -q")
    assert (ROOT / "requirements.lock").exists()


@pytest.mark.parametrize("line", SHELL_LINES)
def test_a_shell_line_is_one_that_the_command_takes(line: str) -> None:
    arguments = repeat_list_flags(shlex.split(line)[1:])
    command = typer.main.get_command(app)
    context = command.make_context("lfexp-mcp", arguments[:1])
    while isinstance(command, typer.core.TyperGroup):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command = found
        is_group = isinstance(command, typer.core.TyperGroup)
        context = command.make_context(name, arguments[:1] if is_group else list(arguments), parent=context)


def test_every_command_is_shown() -> None:
    shown = {shlex.split(line)[1] for line in SHELL_LINES}
    assert {command.name for command in app.registered_commands} - shown == {"demo"}
    assert {group.name for group in app.registered_groups} <= shown


def test_every_tool_is_in_the_table() -> None:
    section = README.split("## Tools\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", section, flags=re.MULTILINE)) == {tool.name for tool in TOOLS}


def _variables() -> set[str]:
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            names |= {str(choice) for choice in alias.choices}
        else:
            names.add(str(alias) if alias is not None else f"LFEXP_{name.upper()}")
    return names - INTERNAL


def test_every_environment_variable_is_explained_and_no_other() -> None:
    table = PAGES[ROOT / "docs/configuration.md"].partition("## Environment variables")[2].partition("## ")[0]
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", table)) == _variables()


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_or_a_section_leads_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[page])
    for name, anchor in links:
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in _anchors(target.read_text(encoding="utf-8")), anchor


def test_every_page_is_in_the_table_of_the_readme() -> None:
    table = README.partition("| page |")[2].partition("\n\n")[0]
    assert set(re.findall(r"\]\(([^)]+)\)", table)) == {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*")}


def test_the_readme_takes_ten_minutes_to_read() -> None:
    assert len(README.split()) <= 2_000


def test_the_files_that_it_names_exist() -> None:
    for name in ("claude_desktop_config.example.json", "requirements.lock", ".ci/run", "tests/benchmarks/__main__.py"):
        assert (ROOT / name).exists(), name


@pytest.mark.slow
def test_its_scripts_load_as_printed(tmp_path: Path) -> None:
    blocks = set(_blocks("python"))
    sources = {block.splitlines()[0].removeprefix("# "): block for block in blocks}
    assert len(sources) == len(blocks), "two pages show different scripts under one name"
    assert set(sources) == {"my_task.py", "my_evaluators.py", "my_scales.py", "my_checks.py", "my_trace_checks.py"}
    for name, source in sources.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    program = (
        "from pathlib import Path; from lfexp_mcp.scripts import load_evaluators, load_task; "
        "load_task(Path('my_task.py')); "
        "print([e.name for name in ('evaluators', 'scales', 'checks', 'trace_checks') "
        "for e in load_evaluators(Path(f'my_{name}.py')).evaluators])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    named = ["exact_match", "word_errors", "stars", "verdict", "exact_match", "numeric", "searches", "no_errors"]
    assert ran.stdout.strip() == str(named)


def test_its_json_is_valid() -> None:
    for block in _blocks("json"):
        json.loads(block)


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_example_configuration_of_a_project_starts_a_server_that_lists_its_tools(home: Path) -> None:
    servers = json.loads(CONFIG.read_text(encoding="utf-8"))["mcpServers"]
    project = servers["langfuse-experiments"]
    named = Path(project["command"]).name
    command = shutil.which(named, path=str(Path(sys.executable).parent))
    assert command is not None, f"{named} is not installed beside {sys.executable}"
    environment = {**os.environ, **project["env"], "LFEXP_HOME": str(home)}
    async with Client(StdioServerParameters(command=command, args=project["args"], env=environment)) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
    assert tools == {tool.name for tool in TOOLS}


def test_the_example_configuration_with_uvx_runs_the_same_command_with_known_variables() -> None:
    servers = json.loads(CONFIG.read_text(encoding="utf-8"))["mcpServers"]
    uvx = servers["langfuse-experiments-with-uvx"]
    assert uvx["command"] == "uvx"
    assert uvx["args"][-1] == "lfexp-mcp"
    for server in servers.values():
        assert set(server["env"]) <= _variables()
