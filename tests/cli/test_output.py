"""How answers are laid out, and that tools and commands offer the same."""

import re
import shlex
import sys

import pytest
import typer

from lfexp_mcp.cli.app import app
from lfexp_mcp.cli.flags import repeat_list_flags
from lfexp_mcp.cli.next_steps import COMMANDS, command_line, next_lines
from lfexp_mcp.cli.output import show
from lfexp_mcp.model import NextStep
from lfexp_mcp.reports.layout import Report, Table, cell, markdown, plain
from lfexp_mcp.reports.untrusted import one_line
from lfexp_mcp.tools.registry import TOOLS, ToolDefinition
from tests.cli.conftest import Shell

ESCAPES = "red \x1b[31mtext\x07\r\nnext\u202eline"

ONLY_TOOLS = {
    ("run_experiment", "wait_seconds"),
    ("score_run", "wait_seconds"),
    ("judge_pairs", "wait_seconds"),
    ("confirm_run", "wait_seconds"),
    ("create_dataset", "items"),
}
"""The shell waits for the end, and takes items by `dataset add-items`."""


def test_a_strangers_control_characters_reach_no_terminal() -> None:
    report = Report((ESCAPES, Table(("column",), [(ESCAPES,)])))
    for text in (plain(report), markdown(report), cell(ESCAPES), one_line(ESCAPES)):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\x07" not in text


def test_a_strangers_markdown_stays_text() -> None:
    shown = markdown(Report((Table(("a | b",), [("<img src=x> | [link](http://x) `code`",)]),)))
    assert "<img" not in shown.replace("\\<img", "")
    assert "\\|" in shown
    assert "\\[link\\]" in shown


def test_a_cell_is_one_line_of_bounded_width() -> None:
    assert cell("x" * 100, 10) == "x" * 9 + "…"
    assert cell({"a": [1, None]}) == '{"a": [1, null]}'
    assert cell(None) == ""
    assert cell("two\nlines") == "two lines"


def test_columns_are_aligned() -> None:
    table = Table(("name", "n"), [("long name", "1"), ("x", "22")], "Title")
    assert plain(Report((table,))) == "Title:\n  name       n\n  long name  1\n  x          22"


@pytest.mark.skipif(sys.platform == "win32", reason="quoting differs there")
def test_a_proposed_call_becomes_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lfexp-mcp"])
    step = NextStep(
        tool="compare_runs",
        arguments={"dataset": "two words", "runs": ["a", "b"], "limit": 100, "score_name": None},
        why="See more.",
    )
    assert command_line(step) == "lfexp-mcp compare --dataset 'two words' --runs a b --limit 100"
    step = NextStep("compare_runs", {"runs": ["a", "-b"]}, "See.")
    assert repeat_list_flags(shlex.split(command_line(step))[1:]) == ["compare", "--runs=a", "--runs=-b"]


@pytest.mark.skipif(sys.platform == "win32", reason="quoting differs there")
@pytest.mark.parametrize("name", ["two  blanks", " around ", "# no comment"])
def test_a_proposed_command_keeps_the_blanks_of_a_name(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["lfexp-mcp"])
    [line] = next_lines([NextStep("get_run", {"run_name": name}, "See\n it.")])
    assert shlex.split(line, comments=True) == ["Next:", "lfexp-mcp", "get-run", "--run-name", name]
    assert line.endswith(" # See it.")
    proposed = shell("get-run", "--dataset", name, "--run-name", "r").err.splitlines()[1]
    assert shlex.split(proposed, comments=True)[-2:] == ["--name", name]


def _flags(tool: str) -> set[str]:
    command = typer.main.get_command(app)
    for name in COMMANDS[tool]:
        assert isinstance(command, typer.core.TyperGroup)
        command = command.commands[name]
    return {flag for parameter in command.params for flag in parameter.opts}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tools_arguments_are_flags_of_its_command(tool: ToolDefinition) -> None:
    arguments = tool.build().fn_metadata.arg_model.model_fields
    wanted = {f"--{name.replace('_', '-')}" for name in arguments if (tool.name, name) not in ONLY_TOOLS}
    assert wanted <= _flags(tool.name)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_command_has_json(tool: ToolDefinition) -> None:
    assert "--json" in _flags(tool.name)


@pytest.mark.parametrize("width", range(40, 160))
def test_a_terminal_of_any_width_shows_every_figure_whole(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    columns = ("run", "score", "verdict", "means", "delta", "95% interval", "adjusted p", "won/lost/tied", "url")
    row = ("labelled-total", "correct", "better", "0.60 -> 0.90", "+0.30", "[+0.129, +0.454]", "0.00088", "24/6/30", "")
    show(Report((Table(columns, [row], "Verdicts"),)))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(text in shown for text in (*row, *columns[:-1]))
    assert max(map(len, shown.splitlines())) <= width
